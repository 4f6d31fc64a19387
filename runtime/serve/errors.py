"""What goes wrong with one request, whatever API it came by."""

from collections.abc import Sequence


class RequestError(Exception):
    """A request that cannot be answered as asked. Each API says it in its own shape.

    Attributes:
        status: of HTTP
        message: what is wrong, and what to do
        headers: of the answer
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: int | None = None,
        allow: Sequence[str] = (),
    ) -> None:
        """
        Args:
            retry_after: seconds until it is worth trying again
            allow: methods that the address knows
        """
        super().__init__(message)
        self.status, self.message = status, message
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        if allow:
            self.headers["Allow"] = ", ".join(allow)


def bad_request(message: str) -> RequestError:
    """The request is wrong: status 400."""
    return RequestError(400, message)


def missing(name: str) -> RequestError:
    """A parameter is not there."""
    return bad_request(f"the parameter {name} is missing")

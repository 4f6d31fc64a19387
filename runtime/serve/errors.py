"""What goes wrong with one request, whatever API it came by."""


class RequestError(Exception):
    """A request that cannot be answered as asked. Each API says it in its own shape.

    Attributes:
        status: of HTTP
        message: what is wrong, and what to do
        retry_after: seconds until it is worth trying again
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def bad_request(message: str) -> RequestError:
    """The request is wrong: status 400."""
    return RequestError(400, message)


def missing(name: str) -> RequestError:
    """A parameter is not there."""
    return bad_request(f"the parameter {name} is missing")

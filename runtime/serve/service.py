"""What every API of the service shares: who may ask, how much, and how an answer comes about."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tfm.runtime.errors import CancelledError, TfmError

from .errors import RequestError
from .keys import ApiKeys, client_of, given_key
from .limits import RateLimiter, ServiceLimits
from .metrics import Metrics
from .models import Models
from .parameters import Parameters, read_parameters
from .text_service import TextService

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
ErrorBody = Callable[[RequestError], Mapping[str, Any]]
CLIENT_LEFT = 499  # nobody reads this answer; it is for the log


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in.

    Attributes:
        request: as it came
        parameters: of its body and query
        client: who asks
        key: the API key that came with it, right or not
    """

    request: Request
    parameters: Parameters
    client: str
    key: str | None


Handler = Callable[[Call], Awaitable[Response]]


class Service:
    """The models, the limits and the counters behind all APIs."""

    def __init__(
        self, models: Models, *, limits: ServiceLimits | None = None, keys: ApiKeys | None = None
    ) -> None:
        """limits, keys: without them there are the default limits, and everyone is let in."""
        self.models = models
        self.limits, self.keys = limits or ServiceLimits(), keys or ApiKeys()
        self.metrics = Metrics()
        self.texts = TextService(models, self.metrics)
        self.rates = RateLimiter(self.limits.req_limit)
        self.in_progress = 0

    def load(self, changes: Mapping[str, Any], **how: Any) -> None:
        """Open the models; until then every translation is refused with 503. See Models.load."""
        self.models.load(changes, self.metrics.batch_ended, **how)
        self.metrics.models_loaded()

    def check_key(self, key: str | None, status_if_missing: int) -> None:
        """Raises RequestError where a key is needed and this is none."""
        if self.keys.allows(key):
            return
        if key is None:
            raise RequestError(status_if_missing, "an API key is needed: ask who runs this service")
        raise RequestError(403, "the API key is not valid")

    def check_loaded(self) -> None:
        """Raises RequestError while models are loaded."""
        if not self.models.loaded:
            raise RequestError(503, "the models are being loaded: try again soon", retry_after=1)

    def count(self, call: Call, texts: int) -> None:
        """Count the texts of a request.

        Raises:
            RequestError: 429, the client asked for too much
        """
        self.rates.admit(call.client, max(1, texts))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of one API, as an ASGI application: lets a request in, and says in the API's own
    shape what is wrong with it.

    Attributes:
        handler: from a call to its answer
        error_body: of the API
        method: the only one that it knows, HEAD beside GET
        status_if_no_key: where one is needed
        is_open: no key is needed, and the models need not be loaded
    """

    service: Service
    handler: Handler
    error_body: ErrorBody
    method: str = "POST"
    status_if_no_key: int = 403
    is_open: bool = False
    methods: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = ("GET", "HEAD") if self.method == "GET" else (self.method,)
        object.__setattr__(self, "methods", known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        service = self.service
        service.in_progress += 1
        try:
            response = await self._answer(request)
            await response(scope, receive, send)
        finally:
            service.in_progress -= 1

    async def _answer(self, request: Request) -> Response:
        try:
            return await self.handler(await self._let_in(request))
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        except RequestError as error:
            return self._refusal(error)
        except CancelledError as error:
            return self._refusal(RequestError(503, str(error)))
        except TfmError as error:
            logger.error("%s: %s", request.url.path, error)
            return self._refusal(RequestError(500, str(error)))

    def _refusal(self, error: RequestError) -> Response:
        return JSONResponse(self.error_body(error), error.status, error.headers)

    async def _let_in(self, request: Request) -> Call:
        if request.method not in self.methods:
            raise RequestError(
                405, f"{request.method} is not for this address", allow=sorted(self.methods)
            )
        service = self.service
        if not self.is_open and 0 <= service.limits.concurrency_limit < service.in_progress:
            raise RequestError(503, "too many requests are in work", retry_after=1)
        parameters = await read_parameters(request, service.limits)
        key = given_key(request.headers, request.query_params, parameters.values)
        if not self.is_open:
            service.check_key(key, self.status_if_no_key)
            service.check_loaded()
        address = request.client.host if request.client else ""
        client = client_of(key if service.keys.required else None, address)
        return Call(request, parameters, client, key)

    def at(self, path: str) -> Route:
        """The route to it."""
        return Route(path, self)


async def unless_left(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work returns; where the client leaves, the work is cancelled.

    Raises:
        ClientDisconnect: it left
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Running the service: the socket, signals, and an end that answers what was accepted."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

DRAIN_SECONDS = 0.2
HEADER_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LARGEST_HEAD = 256 * 1024  # bytes: some clients send their text in the query


class PatientProtocol(H11Protocol):
    """HTTP/1.1, for clients who send the head of a request in time."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The head must come within HEADER_SECONDS."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        """Between requests uvicorn has a limit of its own, up to the first byte."""
        waiting = self._is_waiting()
        super().data_received(data)
        if not self._is_waiting():
            self._cancel_timer()
        elif waiting and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._cancel_timer()
        super().connection_lost(exc)

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_if_idle(self) -> None:
        self._head_timer = None
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()


class GracefulServer(uvicorn.Server):
    """A uvicorn server whose end is no error: SIGINT and SIGTERM end it once what was accepted is
    answered, and are not raised again."""

    def __init__(self, config: uvicorn.Config) -> None:
        """See uvicorn.Server; `is_reachable` is set once connections are taken."""
        super().__init__(config)
        self.is_reachable = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        await super().startup(sockets)
        self.is_reachable.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within it the signals end the server; one that is ignored stays so."""
        is_main = threading.current_thread() is threading.main_thread()
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in _SIGNALS
            if is_main and signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been sent already."""
        await asyncio.sleep(DRAIN_SECONDS)
        await super().shutdown(sockets)

    def last_answers(self, app: ASGIApp) -> ASGIApp:
        """The application, which says from the end's beginning on that an answer is the last of its
        connection: clients who would ask again on it would lose their request."""

        async def closing(scope: Scope, receive: Receive, send: Send) -> None:
            async def closing_send(message: Message) -> None:
                if self.should_exit and message["type"] == "http.response.start":
                    close = (b"connection", b"close")
                    message = {**message, "headers": [*message.get("headers", []), close]}
                await send(message)

            await app(scope, receive, closing_send)

        return closing


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server: nobody can connect before it runs.

    Args:
        port: 0 is any that is free

    Raises:
        OSError: the address cannot be used; its filename is the address
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
        try:
            if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where it would share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_until_signal(
    app: ASGIApp,
    listener: socket.socket,
    load: Callable[[], None],
    announce: Callable[[], None],
    *,
    shutdown_timeout: int = 30,
    trusted_proxies: str = "",
) -> None:
    """Serve until SIGINT or SIGTERM, or `load` fails.

    Args:
        load: is called in another thread while the service answers already
        announce: is called once the service can be reached
        shutdown_timeout: seconds after which what is not answered is dropped
        trusted_proxies: addresses whose X-Forwarded-For is believed, with commas between them

    Raises:
        whatever load raises
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies or None,
        timeout_graceful_shutdown=shutdown_timeout,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )
    server = GracefulServer(config)
    config.app = server.last_answers(app)
    loading = asyncio.create_task(_begin(server, announce, load))
    loading.add_done_callback(lambda task: _end_if_failed(task, server))
    await server.serve(sockets=[listener])
    await loading


async def _begin(
    server: GracefulServer, announce: Callable[[], None], load: Callable[[], None]
) -> None:
    await server.is_reachable.wait()
    announce()
    await asyncio.to_thread(load)


def _end_if_failed(task: "asyncio.Task[None]", server: uvicorn.Server) -> None:
    if task.cancelled() or task.exception() is not None:
        server.should_exit = True

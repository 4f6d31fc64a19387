"""`tfm serve`: translate for other programs, over HTTP."""

import ipaddress
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .model_options import several_models_options
from .options import decoding_options, usage_errors

if TYPE_CHECKING:
    from socket import socket

    from tfm.runtime.serve.keys import ApiKeys
    from tfm.runtime.serve.limits import ServiceLimits
    from tfm.runtime.serve.service import Service

# Port 5000 is LibreTranslate's, which the clients of its API try by themselves.
_PORT = 5000
_NEEDED = ("starlette", "uvicorn", "prometheus_client", "python_multipart")
_LIMITS = (
    ("char-limit", -1, "Characters of one text."),
    ("batch-limit", -1, "Texts of one request."),
    ("alternatives-limit", 10, "Alternatives that may be asked for."),
    ("req-limit", -1, "Texts a minute of one client: an API key, or an address."),
    ("concurrency-limit", 1000, "Requests in work at the same time."),
)


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, default, text in reversed(_LIMITS):
        command = click.option(
            f"--{name}",
            type=click.IntRange(-1),
            default=default,
            show_default=True,
            help=f"{text} -1 is no limit.",
        )(command)
    return command


@click.command()
@several_models_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; 0.0.0.0 or :: lets other machines in.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Port to listen at; 0 is any that is free.",
)
@_limit_options
@click.option(
    "--body-limit",
    type=click.IntRange(1),
    default=1_000_000,
    show_default=True,
    help="Bytes of one request.",
)
@click.option(
    "--body-timeout",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="Seconds in which a request must have come.",
)
@click.option(
    "--api-keys",
    "key_file",
    type=click.File(encoding="utf-8-sig"),  # Windows programs begin a file with its mark
    help="Accept only requests with one of the keys in this file, one in each line. The"
    " environment variable TFM_API_KEYS may hold keys, too, separated by spaces.",
)
@click.option(
    "--cors-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web site whose pages may use the service, such as https://example.org; 'none' for no"
    " other than its own page. May be given several times.  [default: all]",
)
@click.option(
    "--trusted-proxies",
    default="",
    metavar="ADDRESS,...",
    help="Trust the header X-Forwarded-For of requests from these addresses.",
)
@click.option(
    "--shutdown-timeout",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds that requests have to end after SIGTERM or Ctrl-C.",
)
@click.option(
    "--log",
    type=click.Choice(["text", "json", "off"]),
    default="text",
    show_default=True,
    help="A line on stderr for each request; never its text.",
)
@partial(decoding_options, without=("num_hypotheses", "target_prefix"))
def serve(**arguments: Any) -> None:
    """Translate for other programs, over HTTP, and show a page at /.

    Speaks the API of LibreTranslate (/translate, ...), DeepL (/v2/translate), DeepLX (/deeplx),
    Immersive Translate (/imme) and MTranServer (/translate/batch). What is asked at the same time
    is translated in the same batches. /openapi.json has the details, /metrics what Prometheus
    reads. Ctrl-C or SIGTERM ends it once what was accepted is answered.

    \b
        tfm serve
        curl localhost:5000/translate -d q=我爱你。 -d source=auto -d target=en
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in `tfm run`
    from importlib import import_module

    for module in _NEEDED:  # before anything is read: all or nothing
        import_module(module)
    _run(**arguments)


def _run(
    *,
    models: tuple[Path, ...],
    device: str,
    variant: str | None,
    threads: int,
    host: str,
    port: int,
    key_file: Any,
    origins: tuple[str, ...],
    trusted_proxies: str,
    shutdown_timeout: int,
    log: str,
    decoding: dict[str, Any],
    **limits: Any,
) -> None:
    from tfm.runtime.bundled import BUNDLED_MODELS, bundled_model
    from tfm.runtime.serve.logs import log_requests
    from tfm.runtime.serve.models import Models
    from tfm.runtime.serve.server import listen
    from tfm.runtime.serve.service import Service

    served = Models(models or [bundled_model(name) for name in BUNDLED_MODELS])
    service = Service(served, limits=_limits(limits), keys=_read_keys(key_file))

    def load() -> None:
        with usage_errors():
            service.load(decoding, device=device, variant=variant, intra_threads=threads)

    with log_requests(log):
        try:
            _listen_and_serve(
                service,
                listen(host, port),
                load,
                origins=origins,
                shutdown_timeout=shutdown_timeout,
                trusted_proxies=trusted_proxies,
            )
        finally:
            served.close()


def _listen_and_serve(
    service: "Service",
    listener: "socket",
    load: Callable[[], None],
    *,
    origins: tuple[str, ...],
    **how: Any,
) -> None:
    import asyncio

    from tfm.runtime.serve.app import create_app, page_folder
    from tfm.runtime.serve.logs import events
    from tfm.runtime.serve.models import model_names
    from tfm.runtime.serve.server import serve_until_signal, url_of

    names = model_names(service.models.models)

    def announce() -> None:
        events.info("%s translates with %s; Ctrl-C ends it", url_of(listener), names)
        if not service.keys.required and not _is_loopback(listener.getsockname()[0]):
            events.warning("Warning: whoever reaches this machine may use it: see --api-keys")

    allowed = () if "none" in origins else origins or ("*",)
    app = create_app(service, origins=allowed, page=page_folder())
    asyncio.run(serve_until_signal(app, listener, load, announce, **how))


def _limits(values: dict[str, Any]) -> "ServiceLimits":
    from tfm.runtime.serve.limits import ServiceLimits

    return ServiceLimits(**values)


def _read_keys(file: Any) -> "ApiKeys":
    from tfm.runtime.serve.keys import ApiKeys, read_keys

    keys = os.environ.get("TFM_API_KEYS", "").split()
    if file is not None:
        found = read_keys(file.read())
        if not found:
            raise click.UsageError(f"{file.name} has no API key in it: one in each line")
        keys += found
    return ApiKeys(keys)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback

"""Runs in a process of its own: imports what tfm needs and tries a model, and reports every step
as it comes, so that a crash leaves what was found until then.

Its arguments are the file for the reports, which are lines of JSON, and a task: "libraries", or
"model" and a folder.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfm.runtime.config import ModelConfig
from tfm.runtime.device import Choice, choose, load_onnxruntime
from tfm.runtime.errors import TfmError

from . import onnx_header

REPEATS = 3
SENTENCES = {
    "zh": "今天天气很好，我们去公园散步吧。",
    "en": "The weather is nice today, so let us go for a walk in the park.",
}
_GRAPHS = ("encoder", "decoder", "compact", "translate", "greedy", "score")
Report = Callable[..., None]


def main(arguments: list[str]) -> None:
    """Do what the command line says; any error ends the process with a traceback."""
    path, task, *rest = arguments
    with open(path, "a", encoding="utf-8") as stream:

        def report(step: str, **facts: Any) -> None:
            stream.write(json.dumps({"step": step, **facts}) + "\n")
            stream.flush()

        try:
            if task == "libraries":
                _import_libraries(report)
            else:
                _try_model(report, Path(rest[0]))
        except TfmError as error:
            report("failed", error=str(error))


def _import_libraries(report: Report) -> None:
    for name in ("numpy", "sentencepiece"):
        report("begin", what=name)
        module = __import__(name)
        report("imported", what=name, version=str(getattr(module, "__version__", "?")))
    report("begin", what="onnxruntime")
    ort = load_onnxruntime()
    report(
        "imported",
        what="onnxruntime",
        version=str(ort.__version__),
        folder=os.path.dirname(str(ort.__file__)),
        providers=list(ort.get_available_providers()),
        session=callable(ort.InferenceSession),
        sockets=_sockets(),
    )


def _try_model(report: Report, folder: Path) -> None:
    from tfm.runtime import Translator

    config = ModelConfig.load(folder)
    report("begin", what="onnxruntime")
    providers = load_onnxruntime().get_available_providers()
    for variant in sorted(config.variants):
        try:
            device = choose(config.variants, providers, variant=variant).device
            choice = Choice(device, variant, "")
        except TfmError as error:
            report("refused", variant=variant, error=str(error))
            continue
        _open_graphs(report, folder, config, choice)
    report("begin", what="translator")
    start = time.perf_counter()
    translator = Translator(folder)
    report(
        "opened",
        seconds=time.perf_counter() - start,
        device=translator.choice.device,
        variant=translator.choice.variant,
        reason=translator.choice.reason,
        threads=translator.sessions.threads,
        fingerprint=translator.fingerprint,
    )
    report("begin", what="sentence")
    report("translated", **_time_a_sentence(translator))
    report("memory", peak_bytes=_peak_bytes())


def _open_graphs(report: Report, folder: Path, config: ModelConfig, choice: Choice) -> None:
    """Load each graph of a variant, and compare it with config.json."""
    from tfm.runtime.graph_contract import check_graph
    from tfm.runtime.graph_session import GraphSession

    files = config.variants[choice.variant]
    for name in _GRAPHS:
        entry = getattr(files, name)
        if entry is None:
            continue
        what = f"{choice.variant}/{name}"
        report("begin", what=what)
        path = folder / entry.path
        facts: dict[str, Any] = {"variant": choice.variant, "graph": name}
        try:
            header = onnx_header.read(path)
            facts |= {"ir": header.ir_version, "opsets": header.opsets}
            graph = GraphSession(path, folder / files.weights.path, choice.device, 1)
            check_graph(name, graph, path, config)
        except TfmError as error:
            facts["error"] = str(error)
        report("graph", **facts)


def _time_a_sentence(translator: Any) -> dict[str, Any]:
    from tfm.runtime.route import choose_route

    sentence = SENTENCES.get(translator.config.languages.source, SENTENCES["en"])
    sessions, options = translator.sessions, translator.options
    translation = translator.translate(sentence)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        translator.translate(sentence)
        seconds.append(time.perf_counter() - start)
    route = choose_route(
        options, sessions.choice.device, sessions.graph_options, has_greedy=sessions.has_greedy
    )
    best = translation.hypotheses[0]
    return {
        "source": sentence,
        "text": best.text,
        "truncated": best.truncated,
        "source_tokens": translator.source_length(sentence),
        "target_tokens": len(best.tokens),
        "seconds": sorted(seconds)[REPEATS // 2],
        "beam_size": options.beam_size,
        "route": route.reason,
    }


def _sockets() -> int | None:
    """How many sockets this process has open; None where there is no telling."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return None
    count = 0
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):  # the descriptor of listdir itself is closed again
            count += os.readlink(folder / name).startswith("socket:")
    return count


def _peak_bytes() -> int | None:
    """The most memory that this process has had; None on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

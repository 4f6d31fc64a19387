"""What a child process does: it tries what it is told to, and says what came of it.

Its memory is limited, what it prints goes to a file, and whatever is raised is an outcome.
"""

import ctypes
import logging
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .verdicts import LONGEST_MESSAGE, Outcome, is_clear, same_translations

# Of address space: the interpreter and its libraries take 0.5 GiB, a model of the tests 0.1.
LIMIT_BYTES = 4 << 30
MAX_LENGTH = 24  # tokens of a translation: enough to tell models apart
_NOISE_BYTES = 4000
_PR_SET_PDEATHSIG = 1


def serve(connection: Any, printed: str, limit: int) -> None:
    """Run the trials that come by a connection until it is closed."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # an endless trial ends with us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    file = os.open(printed, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import tfm.runtime.commands.cli  # noqa: F401  # before the limit: it is no part of a trial
    from tfm.runtime.device import load_onnxruntime

    load_onnxruntime()
    # What the library logs on purpose is no noise.
    logging.getLogger("tfm").addHandler(logging.NullHandler())
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    connection.send("ready")
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        began = time.monotonic()
        facts = _attempt(TRIALS[name], arguments, connection)
        sys.stdout.flush()
        sys.stderr.flush()
        noise = os.pread(file, _NOISE_BYTES, 0).decode("utf-8", "replace")
        connection.send(Outcome(**facts, noise=noise, seconds=time.monotonic() - began))


class Progress:
    """How far a trial is; the parent is told, in case that it never ends."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._before = _reset_peak()
        self.phase = "load"
        self.loading_bytes = 0

    def loaded(self) -> None:
        self.loading_bytes = _peak() - self._before
        self.phase = "translate"
        self._connection.send(self.phase)


def _attempt(
    trial: Callable[..., dict[str, Any]], arguments: dict[str, Any], connection: Any
) -> dict[str, Any]:
    from tfm.runtime.errors import TfmError

    progress = Progress(connection)
    facts: dict[str, Any] = {}
    try:
        facts = {"status": "translated", **trial(progress=progress, **arguments)}
    except (TfmError, ValueError) as error:
        # As UnicodeError and others do, a subclass of Python's own speaks to programmers.
        ours = isinstance(error, TfmError) or type(error) is ValueError
        facts = _failure("refused" if ours else "traceback", error)
    except TypeError as error:
        # README promises it for an option that does not exist.
        ours = str(error).startswith("no decoding option")
        facts = _failure("refused" if ours else "traceback", error)
    except BaseException as error:  # whatever it is: that is what the trial is to find out
        facts = _failure("traceback", error)
    if progress.phase == "load":
        progress.loading_bytes = _peak() - progress._before
    return {**facts, "phase": progress.phase, "loading_bytes": progress.loading_bytes}


def _failure(status: str, error: BaseException) -> dict[str, Any]:
    frames = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__, limit=-200)
        if "/runtime/" in frame.filename
    ]
    place = f"{type(error).__name__} in {frames[-1] if frames else 'the trial'}"
    message = str(error) if status == "refused" else f"{type(error).__name__}: {error}"
    return {"status": status, "message": message[: LONGEST_MESSAGE + 1], "place": place}


def translate_folder(
    progress: Progress, folder: str, sentences: Sequence[str], with_info: bool = True
) -> dict[str, Any]:
    """Load a model folder, translate by the graph and by steps, and ask `tfm info` about it."""
    from tfm.runtime import Translator

    complaints = complaints_about_info(folder) if with_info else []
    translator = Translator(folder, device="cpu", intra_threads=1)
    by_steps = Translator.from_sessions(
        translator.folder, translator.config, translator.sessions, by_steps=True
    )
    progress.loaded()
    translations = []
    for chosen in (translator, by_steps):
        # The first with the model's own options, unless they are for long translations.
        own = chosen.options.max_length <= 300
        alone = chosen.translate_batch(sentences[:1], **({} if own else {"max_length": 300}))
        together = chosen.translate_batch(sentences, max_length=MAX_LENGTH)
        greedy = chosen.translate_batch(sentences, beam_size=1, max_length=MAX_LENGTH)
        translations += [*plain(alone), *plain(together), *plain(greedy)]
    texts = (hypothesis[0] for hypotheses in translations for hypothesis in hypotheses)
    complaints += _not_text(texts)
    if translator.sessions.has_score:
        scored = translator.score_batch(sentences, sentences, with_attention=True)
        translations += [[("", (len(score.log_probs),), score.total)] for score in scored]
    return {"translations": translations, "complaints": tuple(complaints)}


def translate_texts(progress: Progress, folder: str, texts: Sequence[Any]) -> dict[str, Any]:
    """Translate texts together, each alone, and by `tfm run`: it must be the same."""
    translator = _shared_translator(folder)
    progress.loaded()
    together = plain(translator.translate_batch(texts, beam_size=1, max_length=MAX_LENGTH))
    complaints = _not_text(hypotheses[0][0] for hypotheses in together)
    for index, text in enumerate(texts):
        alone = plain([translator.translate(text, beam_size=1, max_length=MAX_LENGTH)])
        if not same_translations(together[index : index + 1], alone):
            complaints.append(f"text {index} differs alone: {alone} and {together[index]}")
    complaints += _complaints_about_run(folder, texts)
    return {"translations": together, "complaints": tuple(complaints)}


def translate_options(
    progress: Progress, folder: str, sentences: Sequence[str], options: dict[str, Any], way: str
) -> dict[str, Any]:
    """Translate with a set of options, by the "graph" or by "steps"."""
    translator = _shared_translator(folder, by_steps=way == "steps")
    progress.loaded()
    if "max_length" not in options:
        options = {**options, "max_length": MAX_LENGTH}
    translations = plain(translator.translate_batch(sentences, **options))
    texts = (hypothesis[0] for hypotheses in translations for hypothesis in hypotheses)
    return {"translations": translations, "complaints": tuple(_not_text(texts))}


TRIALS: dict[str, Callable[..., dict[str, Any]]] = {
    "folder": translate_folder,
    "texts": translate_texts,
    "options": translate_options,
}


def complaints_about_info(folder: str) -> list[str]:
    """What `tfm info` must not do: fail with a traceback, write what a terminal would obey."""
    from click.testing import CliRunner

    from tfm.runtime.commands.cli import cli

    complaints = []
    for arguments in (["info", folder], ["info", "--json", folder]):
        result = CliRunner().invoke(cli, arguments)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            complaints.append(f"tfm info: {type(error).__name__}: {error}"[:300])
        elif result.exit_code and not is_clear(result.stderr.removesuffix("\n")):
            complaints.append(f"tfm info: error is no line: {result.stderr[:300]!r}")
        elif re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.stdout):
            complaints.append("tfm info: control characters in the output")
    return complaints


def plain(translations: Sequence[Any]) -> list[list[tuple[str, tuple[int, ...], float]]]:
    """Translations as tuples, which travel between processes."""
    return [[(h.text, h.tokens, h.score) for h in each.hypotheses] for each in translations]


_TRANSLATORS: dict[tuple[str, bool], Any] = {}


def _shared_translator(folder: str, by_steps: bool = False) -> Any:
    from tfm.runtime import Translator

    key = (folder, by_steps)
    if key not in _TRANSLATORS:
        translator = Translator(folder, device="cpu", intra_threads=1, by_steps=by_steps)
        _TRANSLATORS[key] = translator
    return _TRANSLATORS[key]


def _complaints_about_run(folder: str, texts: Sequence[str]) -> list[str]:
    """`tfm run` must write a line for every line that it reads."""
    from click.testing import CliRunner

    from tfm.runtime.commands.cli import cli

    stdin = "".join(f"{text}\n" for text in texts).encode("utf-8")
    arguments = ["run", "-m", folder, "--beam-size", "1", "--max-length", "4", "--threads", "1"]
    result = CliRunner().invoke(cli, arguments, input=stdin)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return [f"tfm run: {type(error).__name__}: {error}"[:300]]
    if result.exit_code:
        lines = result.stderr.removesuffix("\n")
        return [] if is_clear(lines) else [f"tfm run: error is no line: {lines[:300]!r}"]
    written = result.stdout_bytes.count(b"\n")
    expected = stdin.count(b"\n")
    return [] if written == expected else [f"tfm run: {expected} lines became {written}"]


def _not_text(texts: Any) -> list[str]:
    """What is wrong with translations that cannot be written."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return [f"a translation is not UTF-8: {text!r}"[:300]]
    return []


def _reset_peak() -> int:
    """Forget the largest memory so far; returns the present one, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _peak()


def _peak() -> int:
    """The largest resident memory since the last reset, in bytes; 0 where it is not known."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else 0

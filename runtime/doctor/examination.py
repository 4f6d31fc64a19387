"""All findings, in the order of the report."""

import locale
import sys
from collections.abc import Iterator

from .finding import Finding, Level, ok, warning
from .libraries import extras_finding, library_findings, python_finding
from .models import model_findings, models_to_check
from .processor import instructions_finding, memory_finding, threads_finding

_SAMPLE = "翻译…"


def examine(models: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Look at everything, from Python to a translated sentence; each finding comes as it is made.

    Args:
        models: folders, or names of bundled models; none is that of TFM_MODEL, or all bundled ones
    """
    yield python_finding()
    extras = extras_finding()
    if extras is not None:
        yield extras
    yield from library_findings()
    yield threads_finding()
    yield instructions_finding()
    yield memory_finding()
    yield encoding_finding(sys.stdout.encoding)
    for model in models_to_check(models):
        yield from model_findings(model)


def can_translate(findings: list[Finding]) -> bool:
    """Whether nothing keeps tfm from translating."""
    return all(finding.level is not Level.PROBLEM for finding in findings)


def encoding_finding(encoding: str | None) -> Finding:
    """Whether stdout can show what is translated."""
    name, preferred = encoding or "ascii", locale.getpreferredencoding(False)
    facts = {"stdout": encoding, "preferred": preferred, "utf8_mode": bool(sys.flags.utf8_mode)}
    try:
        _SAMPLE.encode(name)
    except (UnicodeEncodeError, LookupError):
        advice = "set PYTHONUTF8=1, or a locale such as C.UTF-8; files that tfm writes are UTF-8"
        text = f"stdout is {name}, which lacks characters: they are escaped, as in \\u7ffb"
        return warning("encoding", text, advice, **facts)
    return ok("encoding", f"stdout is {name}", **facts)

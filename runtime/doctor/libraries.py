"""Findings about Python, the packages that tfm needs, and the module onnxruntime."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from typing import Any

from tfm.runtime.files.display import printable

from . import trial_process
from .cuda_libraries import cuda_findings
from .finding import Finding, ok, problem, warning
from .packages import (
    Requirement,
    changed_files,
    installed_version,
    is_older,
    onnxruntimes,
    requirements,
)

_REINSTALL = "pip install --force-reinstall --no-deps {name}=={version}"
_INSTALL_ONNXRUNTIME = (
    "pip install 'tfm[cpu]', or 'tfm[gpu]' for CUDA (in the checkout with -c constraints.txt)"
)


def python_finding() -> Finding:
    """Which Python and which tfm this is."""
    python = f"Python {platform.python_version()} ({platform.system()} {platform.machine()})"
    facts = {"python": platform.python_version(), "executable": sys.executable}
    version = installed_version("tfm")
    if version is None:
        advice = "pip install tfm; without its metadata, commands of other packages are not found"
        return warning("tfm", f"tfm is not installed as a package; {python}", advice, **facts)
    return ok("tfm", f"tfm {version}, {python}", tfm=version, **facts)


def extras_finding() -> Finding | None:
    """Which extras are complete, and what the others need."""
    wanted = requirements()
    if wanted is None:
        return None
    missing: dict[str, list[str]] = {}
    for requirement in wanted:
        if requirement.extra:
            lacking = missing.setdefault(requirement.extra, [])
            if not _is_satisfied(requirement):
                lacking.append(requirement.name)
    complete = sorted(extra for extra, lacking in missing.items() if not lacking)
    others = sorted(missing.keys() - complete)
    text = f"installed: {', '.join(complete) or 'none'}"
    if others:
        text += f"; not installed: {', '.join(others)} (pip install 'tfm[NAME]')"
    facts = {extra: lacking for extra, lacking in missing.items() if lacking}
    return ok("extras", text, complete=complete, missing=facts)


def _is_satisfied(requirement: Requirement) -> bool:
    version = installed_version(requirement.name)
    return version is not None and not is_older(version, requirement.least)


def library_findings() -> Iterator[Finding]:
    """What importing the libraries shows."""
    distributions = onnxruntimes()
    yield from _clash_findings(distributions)
    experiment = trial_process.run("libraries")
    imported = {report["what"]: report for report in experiment.of("imported")}
    for name in ("numpy", "sentencepiece"):
        if name in imported:
            yield _version_finding(name, str(imported[name]["version"]))
    found = imported.get("onnxruntime")
    if found is not None and not experiment.error:
        yield from _onnxruntime_findings(found, distributions)
        yield _telemetry_finding(found["sockets"])
    else:
        yield _import_problem(experiment, distributions)
    if any(_name(distribution) == "onnxruntime-gpu" for distribution in distributions):
        yield from cuda_findings(found)


def _version_finding(name: str, version: str, what: str = "") -> Finding:
    """Whether a library is as new as tfm asks for."""
    least = max(
        (r.least for r in requirements() or [] if r.name == name),
        default="",
    )
    if least and is_older(version, least):
        advice = f"pip install --upgrade {name}"
        return warning(name, f"{version}{what}: tfm needs at least {least}", advice)
    needed = f", at least {least} is needed" if least else ""
    return ok(name, f"{version}{what}{needed}", version=version, least=least)


def _onnxruntime_findings(
    found: dict[str, Any], distributions: list[Distribution]
) -> Iterator[Finding]:
    name = _name(distributions[0]) if distributions else "onnxruntime"
    if not distributions:
        advice = "no package says that it brought it: " + _INSTALL_ONNXRUNTIME
        yield warning("onnxruntime", f"imported from {found['folder']}", advice)
    yield _version_finding(name, str(found["version"]), f" in {printable(found['folder'])}")
    yield ok("providers", ", ".join(found["providers"]), providers=found["providers"])


def _import_problem(
    experiment: trial_process.Experiment, distributions: list[Distribution]
) -> Finding:
    """Why the libraries cannot be imported, and what to do."""
    name = experiment.last_begun
    error = experiment.error or "nothing was reported"
    if name == "onnxruntime":
        if not distributions:
            return problem(name, "onnxruntime is not installed", _INSTALL_ONNXRUNTIME)
        first = distributions[0]
        advice = _REINSTALL.format(name=_name(first), version=first.version)
        if len(distributions) > 1:
            advice = _separation(distributions)
    else:
        advice = f"pip install --force-reinstall {name}"
    if "SIGILL" in error:
        advice = "this processor lacks instructions that the package was built with"
    return problem(name, f"cannot be imported: {error}", advice, error=error)


def _clash_findings(distributions: list[Distribution]) -> Iterator[Finding]:
    """Packages that write over each other's files, and files that are not a package's own."""
    names = [_name(distribution) for distribution in distributions]
    if len(names) > 1:
        yield warning(
            "onnxruntime files",
            f"{' and '.join(names)} are both installed, and write over each other's files",
            _separation(distributions),
            distributions=names,
        )
        return
    for distribution in distributions:
        missing, changed = changed_files(distribution)
        if not missing and not changed:
            yield ok("onnxruntime files", f"all are those of {names[0]} {distribution.version}")
            continue
        counts = f"{len(missing)} files missing, {len(changed)} changed"
        example = printable((missing + changed)[0])
        yield warning(
            "onnxruntime files",
            f"{counts} since {names[0]} {distribution.version} was installed, such as {example}",
            _REINSTALL.format(name=names[0], version=distribution.version),
            missing=missing,
            changed=changed,
        )


def _separation(distributions: list[Distribution]) -> str:
    names = " ".join(_name(distribution) for distribution in distributions)
    return f"pip uninstall {names}, then {_INSTALL_ONNXRUNTIME}"


def _telemetry_finding(sockets: int | None) -> Finding:
    """Whether onnxruntime may write to its maker."""
    value = os.environ.get("ORT_DISABLE_TELEMETRY", "")
    seen = "" if sockets is None else f"; {sockets} sockets after the import of onnxruntime"
    text = f"ORT_DISABLE_TELEMETRY={value}{seen}"
    if value == "1" and not sockets:
        return ok("telemetry", f"off: {text}", sockets=sockets)
    advice = "unset ORT_DISABLE_TELEMETRY: tfm then sets it to 1 before onnxruntime is imported"
    return warning("telemetry", f"may be on: {text}", advice, sockets=sockets)


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"])

"""Which Python packages are installed, which versions are asked for, and whether their files are
those that were installed."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?\s*(?P<limits>[^;]*)(;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w.-]+)['\"]")
_LEAST = re.compile(r">=\s*([\w.]+)")
_NUMBERS = re.compile(r"\d+(\.\d+)*")
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)  # damaged metadata
_CODE = (".py", ".so", ".pyd", ".dll", ".dylib")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What tfm needs of another package.

    Attributes:
        name: of the package, as PyPI writes it
        least: the oldest version that will do; "" is any
        extra: of tfm, that asks for it; "" is always
    """

    name: str
    least: str
    extra: str


def requirements(package: str = "tfm") -> list[Requirement] | None:
    """What a package says it needs, without what it needs of itself; None where it is not
    installed, or its metadata cannot be read."""
    try:
        lines = distribution(package).requires or []
    except (PackageNotFoundError, *_READ_ERRORS):
        return None
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None or _normalized(match["name"]) == _normalized(package):
            continue
        least, extra = _LEAST.search(match["limits"]), _EXTRA.search(match["marker"] or "")
        found.append(
            Requirement(match["name"], least[1] if least else "", extra[1] if extra else "")
        )
    return found


def installed_version(name: str) -> str | None:
    """The version of a package; None where it is not installed, or its metadata is damaged."""
    try:
        version: str | None = distribution(name).version
    except (PackageNotFoundError, *_READ_ERRORS):
        return None
    return version


def is_older(version: str, least: str) -> bool:
    """Whether a version is below the least one; unknown ones are not."""
    given, wanted = _NUMBERS.match(version), _NUMBERS.match(least)
    if given is None or wanted is None:
        return False
    return _release(given[0]) < _release(wanted[0])


def onnxruntimes() -> list[Distribution]:
    """The distributions that bring the module onnxruntime: onnxruntime, onnxruntime-gpu and
    others of the family."""
    found = {}
    for candidate in distributions():
        try:
            name = _normalized(candidate.metadata["Name"] or "")
        except _READ_ERRORS:
            continue
        if re.match(r"(onnxruntime|ort)\b", name) and name not in found and _has_module(candidate):
            found[name] = candidate  # the first on the path is the one that counts
    return [found[name] for name in sorted(found)]


def changed_files(installed: Distribution) -> tuple[list[str], list[str]]:
    """Files with code that are missing, and that are not what was installed: another package, or a
    copy that was cut off, wrote over them. Nothing where the package has no list of its files."""
    missing, changed = [], []
    for path, size, digest in _recorded(installed):
        try:
            if not path.is_file():
                missing.append(path.name)
            elif path.stat().st_size != size or _record_hash(path) != digest:
                changed.append(path.name)
        except OSError:
            changed.append(path.name)
    return missing, changed


def _recorded(installed: Distribution) -> Iterator[tuple[Path, int, str]]:
    """Path, size and sha256 of its files with code, as its RECORD has them."""
    try:
        files = installed.files or []
    except _READ_ERRORS:
        return
    for file in files:
        is_code = file.suffix in _CODE or ".so." in file.name
        hashed = file.hash is not None and file.hash.mode == "sha256"
        if is_code and hashed and file.size is not None and file.hash is not None:
            yield Path(str(installed.locate_file(file))), file.size, file.hash.value


def _record_hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _has_module(candidate: Distribution) -> bool:
    try:
        files = candidate.files
    except _READ_ERRORS:
        return True
    return files is None or any(file.parts[:1] == ("onnxruntime",) for file in files)


def _release(numbers: str) -> tuple[int, ...]:
    parts = [int(part) for part in numbers.split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

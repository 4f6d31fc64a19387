"""How long files and functions may be, and that a class name means one thing.

What fails today is listed as an exception. An exception that is no longer needed fails as well: the
lists only shrink.
"""

import ast
import os
from collections import Counter
from collections.abc import Iterator

from helpers.command import python
from helpers.paths import ROOT

PACKAGES = ("runtime", "trainer", "export", "tests/bench")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # without decorators and docstring

LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
SHARED_CLASS_NAMES: set[str] = set()


def sources() -> Iterator[tuple[str, str]]:
    """Path in the checkout and text of every source file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "build" not in path.relative_to(ROOT).parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring's."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def test_no_file_is_too_long() -> None:
    long_files = {path for path, text in sources() if len(text.splitlines()) > MAX_FILE_LINES}
    assert long_files == LONG_FILES


def test_no_function_is_too_long() -> None:
    long_functions = {
        f"{path}:{node.name}"
        for path, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and function_lines(node) > MAX_FUNCTION_LINES
    }
    assert long_functions == LONG_FUNCTIONS


def test_a_class_name_means_one_thing() -> None:
    counts = Counter(
        node.name
        for path, text in sources()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in counts.items() if count > 1} == SHARED_CLASS_NAMES


def test_no_modules_import_each_other_in_a_circle() -> None:
    # There `tfm` is a namespace, as grimp wants the parent of a root package to be.
    path = os.pathsep.join([str(ROOT / ".typing"), str(ROOT / ".typing" / "tests")])
    done = python(
        "import grimp\n"
        "packages = 'tfm.runtime', 'tfm.trainer', 'tfm.export', 'tfm_bench'\n"
        "graph = grimp.build_graph(*packages, cache_dir=None)\n"
        "assert len(graph.modules) > 100\n"
        "for module in graph.modules:\n"
        "    for imported in graph.find_modules_directly_imported_by(module):\n"
        "        if module in graph.find_upstream_modules(imported):\n"
        "            print(module, imported)\n",
        PYTHONPATH=path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""

"""The page's JavaScript modules, run by Node."""

import json
import subprocess
from pathlib import Path
from typing import Any

from .needs import needs_path, needs_program
from .paths import ROOT

NODE_EXAMPLE = ROOT / "tests" / "examples" / "node"
_ANSWERS = ROOT / "tests" / "runtime" / "web" / "answers.mjs"


def javascript(task: str, **request: Any) -> Any:
    """The answer of a task of tests/runtime/web/answers.mjs."""
    done = subprocess.run(
        [needs_program("node"), str(_ANSWERS)],
        input=json.dumps({"task": task, **request}),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def node_package(name: str) -> Path:
    """The folder of an npm package that the example in Node installs."""
    return needs_path(NODE_EXAMPLE / "node_modules" / name, f"npm ci in {NODE_EXAMPLE}")

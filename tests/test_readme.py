"""The documents are true: Python in them runs as pasted, and links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md"))
    if not {"build", "node_modules"} & {*path.parts} and ".egg-info" not in str(path)
)


@pytest.mark.parametrize("name", ["README.md", "runtime/README.md"])
def test_python_runs_as_pasted(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
    assert blocks
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "I love you." in done.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (path.parent / target.split("#")[0]).exists(), target


def test_every_feature_in_the_table_is_held_by_a_test() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("### Beside other engines") :].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    held = [row[-1].strip("` |") for row in rows if row[-1] != "held by |"]
    assert len(held) > 20
    for name in held:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text("utf-8"), name


def test_files_that_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = set(re.findall(r"`((?:runtime|trainer|export|tests)/[\w/]+(?:\.\w+)?/?)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []

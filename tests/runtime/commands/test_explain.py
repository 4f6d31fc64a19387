"""`tfm explain`: a sentence in, a page or a picture out."""

import json
import sys
from pathlib import Path

import pytest
from helpers.command import tfm
from helpers.numerals import chinese

from tfm.runtime import Translator

SENTENCE = chinese(3052)


def test_all_formats_at_once(tiny_folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"page.{ending}" for ending in ("html", "png", "json")]
    outputs = [part for file in files for part in ("-o", str(file))]
    model = "-m", str(tiny_folder), "--variant", "fp32", "--beam-size", "3", "--max-length", "9"
    status, stdout, stderr = tfm("explain", SENTENCE, *outputs, *model)
    assert (status, stdout) == (0, "")
    translator = Translator(tiny_folder, variant="fp32")
    best = translator.translate(SENTENCE, beam_size=3, max_length=9).hypotheses[0]
    assert stderr.splitlines() == [f"wrote {file}: {best.text}" for file in files]
    data = json.loads(files[2].read_text("utf-8"))
    assert (data["target"], data["own"]) == (best.text, True)
    assert data["own_score"] == pytest.approx(best.score, abs=1e-4)
    assert files[0].read_text("utf-8").startswith("<!doctype html>")
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}


def test_a_given_translation(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    status, _, stderr = tfm("explain", SENTENCE, "one two", "-o", str(file), "-m", str(tiny_folder))
    assert (status, stderr) == (0, f"wrote {file}: one two\n")
    data = json.loads(file.read_text("utf-8"))
    score = Translator(tiny_folder).score(SENTENCE, "one two")
    assert (data["target"], data["own"]) == ("one two", False)
    assert data["log_probs"] == pytest.approx(score.log_probs, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("-o", "page.pdf", SENTENCE), 2, "page.pdf: the name must end in .html, .png, .json"),
        ((SENTENCE,), 2, "Missing option '-o'"),
        (("-o", "nowhere/page.html", SENTENCE), 1, "there is no folder nowhere; make it first"),
        (("-o", "page.html", " "), 1, "there is nothing to explain: the sentence has no text"),
        (("-o", "page.html", SENTENCE, "--beam-size", "0"), 2, "0 is not in the range"),
        (("-o", "page.html", SENTENCE, "--beam-size", "40"), 1, "40 beams are too many to be seen"),
        (("-o", "page.html", SENTENCE, "--target-language", "xx"), 2, "--target-language is 'xx'"),
        (("-o", "page.html", SENTENCE, "--min-length", "999"), 2, "--min-length"),
    ],
)
def test_mistakes(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, stdout, stderr = tfm("explain", *arguments, "-m", str(tiny_folder))
    assert (found, stdout) == (status, "")
    assert message in stderr and "Traceback" not in stderr
    assert not list(tmp_path.iterdir())


def test_only_pictures_need_matplotlib(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = tmp_path / "page.html"
    found = tfm("explain", SENTENCE, "-o", str(page), "-m", str(tiny_folder))
    assert (found[0], page.exists()) == (0, True)
    both = "-o", str(tmp_path / "other.html"), "-o", str(tmp_path / "page.png")
    status, stdout, stderr = tfm("explain", SENTENCE, *both, "-m", str(tiny_folder))
    assert (status, stdout) == (1, "")
    assert stderr == (
        "Error: tfm explain needs matplotlib: pip install 'tfm[explain]'"
        " (in the checkout with -c constraints.txt)\n"
    )
    assert not (tmp_path / "other.html").exists()

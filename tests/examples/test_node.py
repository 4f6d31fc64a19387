"""The example in Node, as its first lines say to run it."""

import subprocess
from pathlib import Path

import pytest
from helpers.command import tfm
from helpers.javascript import NODE_EXAMPLE, node_package
from helpers.needs import needs_program
from helpers.numerals import chinese
from helpers.paths import ROOT

from tfm.runtime import Translator

LINES = (ROOT / "tests/models/phrases.tsv").read_text("utf-8").splitlines()
PHRASES = [line.split("\t")[0] for line in LINES]


def run(folder: Path, *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [needs_program("node"), str(NODE_EXAMPLE / "translate.mjs"), str(folder), *options]
    return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=300)


def translated(folder: Path, lines: list[str], *options: str) -> list[str]:
    done = run(folder, *options, stdin="".join(f"{line}\n" for line in lines))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def toy_ort(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    node_package("onnxruntime-node")
    folder = tmp_path_factory.mktemp("ort") / "model"
    status, stdout, stderr = tfm("convert", str(toy_model), str(folder), "--to", "ort")
    assert (status, stdout, stderr) == (0, "", f"wrote {folder}\n")
    return folder


@pytest.mark.parametrize("beam_size", [1, 4])
def test_ids_are_those_of_python(toy_model: Path, toy_ort: Path, beam_size: int) -> None:
    lines = [chinese(number) for number in range(3, 9999, 199)]
    translator = Translator(toy_model, intra_threads=1)
    expected = translator.translate_batch(lines, beam_size=beam_size)
    found = translated(toy_ort, lines, "--ids", "--beam-size", str(beam_size))
    assert found == [" ".join(map(str, result.hypotheses[0].tokens)) for result in expected]


def test_text_of_several_sentences(toy_model: Path, toy_ort: Path) -> None:
    one, two = (Translator(toy_model).translate(f"{chinese(n)}。").text for n in (3052, 17))
    line = f"{chinese(3052)}。{chinese(17)}。"
    assert translated(toy_ort, [line, ""]) == [f"{one} {two}", ""]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [(), ("--web",)], ids=["onnxruntime-node", "onnxruntime-web"])
def test_ids_of_the_bundled_model(tmp_path: Path, runtime: tuple[str, ...]) -> None:
    node_package("onnxruntime-web")
    status, _, stderr = tfm("convert", "zh-en", str(tmp_path / "model"), "--to", "ort")
    assert status == 0, stderr
    translator = Translator("zh-en", intra_threads=1)
    for beam_size in (1, 4):
        results = translator.translate_batch(PHRASES, beam_size=beam_size)
        expected = [" ".join(map(str, result.hypotheses[0].tokens)) for result in results]
        options = ("--ids", "--beam-size", str(beam_size), *runtime)
        assert translated(tmp_path / "model", PHRASES, *options) == expected


@pytest.mark.parametrize("options", [("--beam-size", "0"), ("--beam-size", "x"), ("more",)])
def test_wrong_arguments_are_one_line(toy_ort: Path, options: tuple[str, ...]) -> None:
    done = run(toy_ort, *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("Error: ")

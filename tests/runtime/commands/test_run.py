"""`tfm run`: lines in, lines out, options, exit codes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.command import tfm

from tfm.runtime import Hypothesis, TfmError, Translation
from tfm.runtime.commands import run
from tfm.runtime.config import Languages
from tfm.runtime.options import DecodingOptions


class ShoutingTranslator:
    """Translates into capitals, and again with marks for the next best."""

    config = SimpleNamespace(
        architecture=SimpleNamespace(target_vocab_size=100),
        languages=Languages(
            source="zh", target="en", language_token="source", language_ids={"en": 7, "fr": 8}
        ),
    )
    options = DecodingOptions()
    choice = SimpleNamespace(variant="fp32")
    fingerprint = "shouting"

    def __init__(self) -> None:
        self.asked = DecodingOptions()
        self.languages: dict[str, str] = {}
        self.with_scores = False

    def cancel(self) -> None:
        """There is nothing to stop."""

    def translate_batch(
        self,
        sentences: Sequence[str],
        options: DecodingOptions,
        *,
        with_scores: bool,
        with_doubts: bool,
        **languages: str,
    ) -> list[Translation]:
        self.asked, self.languages, self.with_scores = options, languages, with_scores
        if "fail" in sentences:
            raise TfmError("asked to fail")
        if "interrupt" in sentences:
            raise KeyboardInterrupt
        return [
            Translation(
                text,
                tuple(
                    Hypothesis(text.upper() + "!" * i, -0.5 * (i + 1), ())
                    for i in range(options.num_hypotheses)
                ),
            )
            for text in sentences
        ]


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> ShoutingTranslator:
    """`tfm run` without a model."""
    translator = ShoutingTranslator()
    monkeypatch.setattr(run, "_open_translator", lambda *_args: translator)
    return translator


pytestmark = pytest.mark.usefixtures("translator")


def test_arguments_are_lines() -> None:
    assert tfm("run", "one", "", "two\nthree") == (0, "ONE\n\nTWO\nTHREE\n", "")


@pytest.mark.parametrize(
    ("stdin", "stdout"),
    [
        ("a\n\nb\n", "A\n\nB\n"),
        ("a\r\nb", "A\nB\n"),
        ("", ""),
        ("\n", "\n"),
        ("中\u2028文\n", "中 文\n"),
    ],
)
def test_stdin_lines(stdin: str, stdout: str) -> None:
    assert tfm("run", stdin=stdin) == (0, stdout, "")


def test_files(tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes("ä\nb\n".encode())
    target.write_bytes(b"old")
    assert tfm("run", "-i", str(source), "-o", str(target)) == (0, "", "")
    assert target.read_bytes() == "Ä\nB\n".encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_a_failure_leaves_the_old_output(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_bytes(b"old")
    status, _, stderr = tfm("run", "fail", "-o", str(target))
    assert (status, stderr) == (1, "Error: asked to fail\n")
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "out.txt.part").exists()


def test_a_failure_keeps_what_is_done(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    status, _, stderr = tfm("run", "-o", str(target), stdin=b"good\nbad \xff\nmore\n")
    assert status == 1
    assert "line 2 is not UTF-8 (byte 0xff)" in stderr
    assert f"so far is in {target}.part" in stderr
    assert not target.exists()
    assert (tmp_path / "out.txt.part").read_text(encoding="utf-8") == "GOOD\n"


def test_output_into_a_missing_folder(tmp_path: Path) -> None:
    output = tmp_path / "none" / "out.txt"
    status, _, stderr = tfm("run", "a", "-o", str(output))
    assert (status, stderr) == (
        1,
        f"Error: {output}: there is no folder {output.parent}; make it first\n",
    )


def test_what_the_model_suppresses_can_be_left_out(translator: ShoutingTranslator) -> None:
    translator.options = DecodingOptions(suppress_unk=True, suppress_texts=("b",))
    assert tfm("run", "a")[0] == 0
    assert translator.asked == translator.options
    assert tfm("run", "--no-suppress-unk", "--suppress-text", "c", "a")[0] == 0
    assert translator.asked == DecodingOptions(suppress_texts=("c",))


def test_n_best_is_line_translation_score() -> None:
    assert tfm("run", "--n-best", "2", "a", "b")[:2] == (
        0,
        "0 ||| A ||| -0.500000\n0 ||| A! ||| -1.000000\n"
        "1 ||| B ||| -0.500000\n1 ||| B! ||| -1.000000\n",
    )


def test_n_best_widens_the_beam(translator: ShoutingTranslator) -> None:
    tfm("run", "--n-best", "6", "a")
    assert translator.asked == DecodingOptions(beam_size=6, num_hypotheses=6)
    tfm("run", "--n-best", "2", "a")
    assert translator.asked == DecodingOptions(num_hypotheses=2)


def test_decoding_options_and_languages_arrive(translator: ShoutingTranslator) -> None:
    given = {
        "--beam-size": "2",
        "--length-penalty": "0.5",
        "--max-length": "70",
        "--max-length-factor": "1.5",
        "--min-length": "3",
        "--patience": "1.5",
        "--target-prefix": "Dear",
        "--suppress-ids": "5,17",
        "--repetition-penalty": "1.25",
        "--no-repeat-ngram-size": "3",
        "--n-best": "2",
        "--source-language": "zh",
        "--target-language": "fr",
    }
    flags = ["--suppress-unk", "--suppress-text", " b", "--suppress-text", "c"]
    assert tfm("run", *[part for pair in given.items() for part in pair], *flags, "a")[0] == 0
    assert translator.asked == DecodingOptions(
        beam_size=2,
        num_hypotheses=2,
        length_penalty=0.5,
        max_length=70,
        min_length=3,
        patience=1.5,
        target_prefix="Dear",
        suppress_ids=(5, 17),
        suppress_texts=(" b", "c"),
        suppress_unk=True,
        max_length_factor=1.5,
        repetition_penalty=1.25,
        no_repeat_ngram_size=3,
    )
    assert translator.languages == {"source_language": "zh", "target_language": "fr"}
    assert translator.with_scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--beam-size", "0"], "0 is not in the range 1<=x<=1024"),
        (["run", "--beam-size", "2", "--n-best", "3", "a"], "--n-best 3 is more than"),
        (["run", "--device", "tpu"], "'tpu' is not one of"),
        (["run", "--source-language", "de", "a"], "--source-language is 'de': this model has zh"),
        (["run", "--target-language", "de", "a"], "--target-language is 'de': this model has en"),
        (["run", "--length-penalty", "-1"], "-1.0 is not in the range"),
        (["run", "--length-penalty", "nan", "a"], "--length-penalty is nan: it must be finite"),
        (["run", "--patience", "0", "a"], "0.0 is not in the range x>0"),
        (["run", "--suppress-ids", "5;6", "a"], "'5;6' is not a list of token ids such as 5,17"),
        (["run", "--suppress-ids", "5,100", "a"], "--suppress-ids has 100: the model's tokens are"),
        (
            ["run", "--target-prefix", "\udcff", "a"],
            "--target-prefix is '\\udcff': it is not UTF-8",
        ),
        (["run", "--suppress-ids", "5,-6", "a"], "--suppress-ids is -6: it must be at least 0"),
        (["run", "--suppress-text", " ", "a"], "--suppress-text has ' ': a text must be more than"),
        (
            ["run", "--alternatives", "2", "--n-best", "2", "a"],
            "--alternatives cannot be had together with --n-best\n",
        ),
        (["run", "--alternatives", "0", "a"], "0 is not in the range"),
        (["run", "--rerank-weight", "0.25", "a"], "it needs --rerank-with MODEL"),
        (["run", "--min-length", "300", "a"], "--min-length 300 is more than --max-length 256"),
        (["run", "-m", "nowhere"], "'nowhere' does not exist"),
        (["run", "-i", "nowhere"], "No such file or directory"),
        (["run", "-i", __file__, "text"], "give TEXT or -i, not both"),
        (["info", "nowhere"], "'nowhere' does not exist"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_usage_errors(arguments: list[str], message: str) -> None:
    status, stdout, stderr = tfm(*arguments)
    assert (status, stdout) == (2, "")
    assert message in stderr


def test_ctrl_c_is_quiet() -> None:
    assert tfm("run", "interrupt") == (130, "", "")


def test_an_argument_that_is_not_utf8() -> None:
    status, _, stderr = tfm("run", "fine", "\udcff")
    assert (status, stderr) == (1, "Error: TEXT 2 is not UTF-8: '\\udcff'\n")


def test_run_with_a_folder_that_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    status, stdout, stderr = tfm("run", "-m", str(tmp_path), "a")
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert "has no config.json" in stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX pipe")
def test_a_broken_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "from tfm.runtime import DecodingOptions, Hypothesis, Translation\n"
        "from tfm.runtime.commands import run\n"
        "from tfm.runtime.commands.cli import cli\n"
        "from types import SimpleNamespace\n"
        "class Echo:\n"
        "    languages = SimpleNamespace(prefixes=lambda *_: None, source='zh', target='en')\n"
        "    shape = SimpleNamespace(target_vocab_size=9)\n"
        "    config = SimpleNamespace(languages=languages, architecture=shape)\n"
        "    options = DecodingOptions()\n"
        "    choice = SimpleNamespace(variant='fp32')\n"
        "    fingerprint = 'echo'\n"
        "    cancel = None\n"
        "    def translate_batch(self, sentences, options, **languages):\n"
        "        return [Translation(s, (Hypothesis(s, 0.0, ()),)) for s in sentences]\n"
        "run._open_translator = lambda *args: Echo()\n"
        "cli(['run', 'a', 'b'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")

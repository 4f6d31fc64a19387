"""`tfm score`: pairs in, log-probabilities out."""

from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime import Translator


def test_a_line_for_each_pair(tiny_folder: Path, tmp_path: Path) -> None:
    translator = Translator(tiny_folder, variant="fp32")
    pairs = [("one two", "three"), ("", "one"), ("five", ""), ("two", "one two three")]
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}\t{b}\tcorpus\n" for a, b in pairs), "utf-8")
    model = "-m", str(tiny_folder), "--variant", "fp32"
    status, stdout, stderr = tfm("score", "-i", str(file), *model)
    assert (status, stderr) == (0, "")
    expected = [translator.score(*pair) for pair in pairs]
    assert [float(line) for line in stdout.splitlines()] == pytest.approx(
        [score.total for score in expected], abs=1e-4, nan_ok=True
    )
    status, stdout, _ = tfm("score", *pairs[3], "--mean", "--tokens", "--alignment", *model)
    mean, tokens, alignment = stdout.rstrip("\n").split("\t")
    assert float(mean) == pytest.approx(expected[3].total / len(expected[3].log_probs), abs=1e-4)
    named = [token.rpartition(":") for token in tokens.split(" ")]
    assert tuple(name for name, _, _ in named) == expected[3].target_tokens
    values = [float(value) for _, _, value in named]
    assert values == pytest.approx(list(expected[3].log_probs), abs=1e-3)
    assert all("=" in word for word in alignment.split())
    assert tfm("score", *model, stdin="one\ttwo\n")[1].count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "message"),
    [
        (("one",), None, 2, "give SOURCE and TARGET, or -i FILE, or pairs on stdin"),
        ((), "one two\n", 1, "stdin, line 1: no tab in 'one two'; tfm score expects source<TAB>"),
        (("one", "two", "--target-language", "xx"), None, 2, "--target-language is 'xx'"),
        (("one\ttwo", "three"), None, 2, "SOURCE is 'one\\ttwo': it must be one line without tabs"),
        (("one", "two\n"), None, 2, "TARGET is 'two\\n': it must be one line without tabs"),
        (("one", "\rtwo"), None, 2, "TARGET is '\\rtwo': it must be one line without tabs"),
    ],
)
def test_mistakes(
    tiny_folder: Path, arguments: tuple[str, ...], stdin: str | None, status: int, message: str
) -> None:
    found, stdout, stderr = tfm("score", *arguments, "-m", str(tiny_folder), stdin=stdin)
    assert (found, stdout) == (status, "")
    assert message in stderr and "Traceback" not in stderr


def test_a_target_that_is_too_long_is_named_after_the_lines_before_it(tiny_folder: Path) -> None:
    pairs = "one\ttwo\n" * 2 + "one\t" + "two " * 1100 + "\none\ttwo\n"
    status, stdout, stderr = tfm("score", "-m", str(tiny_folder), stdin=pairs)
    assert (status, stdout.count("\n")) == (1, 2)
    assert stderr.startswith("Error: stdin, line 3: the target has ")
    assert "tokens, and at most 1024 can be scored: split it into sentences" in stderr

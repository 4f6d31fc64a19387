"""Test sets with attributions, blank last lines, odd names: scored once, shown safely."""

import lzma
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.export.commands.sentences import read_pairs, read_sentences
from tfm.export.evaluation.evaluate import read_test, read_translations
from tfm.runtime.bundled import bundled_model
from tfm.trainer.errors import TrainError

MODEL = str(bundled_model())


def test_a_column_of_attributions_is_no_corpus(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cmn.tsv"
    path.write_text("".join(f"a\tb\tCC-BY #{n // 2}\n" for n in range(5000)), "utf-8")
    test = read_test([path])
    assert set(test.corpora) == {"cmn.tsv"} and len(test) == 5000
    assert caplog.messages == [
        f"{path}: the third column has 2500 different texts in 5000 lines: taken for notes, not"
        " for names of corpora"
    ]


@pytest.mark.parametrize(("corpora", "lines"), [(3, 3), (20, 20), (50, 500), (1, 9)])
def test_a_column_of_corpora_stays_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, corpora: int, lines: int
) -> None:
    path = tmp_path / "test.tsv"
    path.write_text("".join(f"a\tb\tcorpus {n % corpora}\n" for n in range(lines)), "utf-8")
    assert len(set(read_test([path]).corpora)) == corpora
    assert caplog.messages == []


def test_many_corpora_are_found_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    path.write_text("".join(f"\tb\tcorpus {n % 30}\n" for n in range(600)), "utf-8")
    status, stdout, stderr = tfm("evaluate", MODEL, str(path))
    assert (status, stderr) == (0, "")
    assert stdout.count("| 20 |") == 30 and "| all | 600 |" in stdout


def test_names_of_corpora_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    path.write_text("我爱你。\tI love you.\t新闻|\x1b[31m\u2028x\n", "utf-8")
    status, stdout, _ = tfm("evaluate", MODEL, str(path))
    assert status == 0
    assert r"| 新闻\|\x1b[31m\u2028x | 1 |" in stdout


def test_blank_lines_at_the_end_are_no_sentences(tmp_path: Path) -> None:
    table, other = tmp_path / "test.tsv", tmp_path / "other.txt"
    table.write_bytes("\ufeff我\tI\n爱\tlove\r\n\r\n \n".encode())
    assert read_test([table]).sources == ["我", "爱"]
    table.write_bytes("我\tI\n\n爱\tlove\n".encode())
    with pytest.raises(TrainError, match="line 2: no tab in ''"):
        read_test([table])
    other.write_bytes(b"\xef\xbb\xbfI\n\n\n")
    assert read_translations(other, 1) == ["I"]
    assert read_translations(other, 2) == ["I", ""]


def test_sentences_may_be_compressed_and_have_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv.xz"
    path.write_bytes(lzma.compress("\ufeff我\tI\r\n\r\n \n爱\tlove\n\n".encode()))
    assert read_sentences(path, 9) == (["我", "爱"], ["I", "love"])
    assert read_pairs(path) == (["我", "爱"], ["I", "love"])


@pytest.mark.parametrize("option", ["-o", "--json"])
def test_the_test_set_is_not_overwritten(tmp_path: Path, option: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text("我爱你。\tI love you.\n", "utf-8")
    status, stdout, stderr = tfm("evaluate", MODEL, str(path), option, str(path))
    assert (status, stdout) == (1, "")
    assert "is read, and would be overwritten" in stderr
    assert path.read_text("utf-8") == "我爱你。\tI love you.\n"

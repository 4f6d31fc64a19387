"""Sentences to calibrate, verify and measure on, from text files."""

from pathlib import Path

import click
import pytest

from tfm.export.commands.sentences import read_pairs, read_sentences


def test_sentences_are_spread_over_the_file(tmp_path: Path) -> None:
    pairs, mixed = tmp_path / "pairs.tsv", tmp_path / "mixed.txt"
    pairs.write_text("".join(f"s{i}\tt{i}\tcorpus\n\n" for i in range(100)), "utf-8")
    sources, references = read_sentences(pairs, 4)
    assert sources == ["s0", "s25", "s50", "s75"]
    assert references == ["t0", "t25", "t50", "t75"]
    assert len(read_sentences(pairs, 1000)[0]) == 100
    mixed.write_text("one\ttwo\nthree\n", "utf-8")
    assert read_sentences(mixed, 10) == (["one", "three"], None)


def test_pairs_are_all_the_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_bytes(b"one\tun\tcorpus\r\n\ntwo\tdeux\n")
    assert read_pairs(path) == (["one", "two"], ["un", "deux"])
    path.write_bytes(b"one\tun\ntwo\n")
    with pytest.raises(click.ClickException, match="line 2 has no translation"):
        read_pairs(path)

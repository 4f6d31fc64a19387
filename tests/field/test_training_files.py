"""Corpora as they are found: byte order marks, compressed, blank lines, columns of their own."""

import gzip
import lzma
from pathlib import Path

import pytest

from tfm.export.commands.sentences import read_sentences
from tfm.trainer.data.corpora import Corpora, read_corpora, read_pairs
from tfm.trainer.data.recipe import CorpusRecipe
from tfm.trainer.errors import TrainError

PAIRS = [("一", "one"), ("二", "two"), ("三", "three")]
MARK = b"\xef\xbb\xbf"
LINES = ["\t".join(pair).encode() for pair in PAIRS]


def write(path: Path, content: bytes) -> Path:
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "wb") as file:
        file.write(content)
    return path


def pairs_of(path: Path) -> list[tuple[str, str]]:
    text = read_corpora([CorpusRecipe(path=str(path))])
    return list(zip(text.sources, text.targets, strict=True))


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a.tsv.xz"])
@pytest.mark.parametrize(
    "content",
    [
        MARK + b"\n".join(LINES),
        LINES[0] + b"\n" + MARK + b"\n".join(LINES[1:]) + b"\n",  # two files joined
        b"\r\n".join(LINES) + b"\r\n",
        b"\n".join(LINES) + b"\n\n",
        b"\n".join(LINES) + b"\n \n\r\n",
        b"\n".join(line.replace(b"\t", b"\t" + MARK) for line in LINES),
        b"\n".join(line + b"\tCC-BY 2.0 tatoeba.org #%d" % i for i, line in enumerate(LINES)),
    ],
)
def test_a_table(name: str, content: bytes, tmp_path: Path) -> None:
    assert pairs_of(write(tmp_path / name, content)) == PAIRS


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize(("more", "less"), [(b"\n", b""), (b"\n\n \n", b"\n"), (b"", b"\n\n")])
def test_two_files(suffix: str, more: bytes, less: bytes, tmp_path: Path) -> None:
    sides = [b"\n".join(pair[i].encode() for pair in PAIRS) for i in (0, 1)]
    source = write(tmp_path / f"a.zh{suffix}", MARK + sides[0] + more)
    target = write(tmp_path / f"a.en{suffix}", sides[1] + less)
    recipe = CorpusRecipe(source=str(source), target=str(target))
    assert [pair[:2] for pair in read_pairs(recipe) if pair[0]] == PAIRS
    write(target, sides[1] + b"\n4\n5\n6\n7\n")
    with pytest.raises(TrainError, match="they must be aligned line by line"):
        list(read_pairs(recipe))


def test_a_corpus_per_line_is_not_listed_whole(tmp_path: Path) -> None:
    content = b"\n".join(b"a\tb\tcontributor %d" % i for i in range(1000))
    recipe = CorpusRecipe(path=str(write(tmp_path / "a.tsv", content)), corpora={"news": 2.0})
    with pytest.raises(TrainError) as refused:
        list(Corpora([recipe]))
    assert str(refused.value).endswith("contributor 108 and 988 others")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_sentences_for_export(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"some.zh{suffix}", MARK + "一\n\n二\n".encode() + b"\n")
    assert read_sentences(path, 100) == (["一", "二"], None)

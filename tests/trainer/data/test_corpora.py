"""Reading corpora, pair by pair and all at once, and drawing a sample of them."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from tfm.trainer.config import load_recipe
from tfm.trainer.data.corpora import FOREVER, Corpora, draw_sample, read_corpora
from tfm.trainer.data.recipe import CorpusRecipe
from tfm.trainer.errors import TrainError


def within(folder: Path, recipes: list[CorpusRecipe]) -> list[CorpusRecipe]:
    return [recipe.relative_to(folder) for recipe in recipes]


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_two_files_and_tsv_and_xz_are_joined_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.zh", "你好 \n\n再见\n空\n")
    write(tmp_path / "a.en", "hello\r\nno source\n bye\n\n")
    write(tmp_path / "b.tsv", "一\tone\n二\ttwo\tnumbers\n三\tthree\tnumbers\tignored\n")
    with lzma.open(tmp_path / "c.tsv.xz", "wt", encoding="utf-8") as file:
        file.write("四\tfour\tmore\n五\tfive\tunwanted")
    recipes = [
        CorpusRecipe(source="a.zh", target="a.en", weight=0.5),
        CorpusRecipe(path="b.tsv", weight=2, corpora={"numbers": 3.0}, from_epoch=1, until_epoch=4),
        CorpusRecipe(path="c.tsv.xz", corpora={"unwanted": 0.0}),
    ]
    text = read_corpora(within(tmp_path, recipes))
    corpora = Corpora(within(tmp_path, recipes))
    groups = [corpora.groups[place] for _, _, place in corpora]
    assert text.sources == ["你好", "再见", "一", "二", "三", "四"]
    assert text.targets == ["hello", "bye", "one", "two", "three", "four"]
    assert text.corpora == ["a.zh", "a.zh", "b.tsv", "numbers", "numbers", "more"]
    assert [group.corpus for group in groups] == text.corpora
    assert [group.weight for group in groups] == [0.5, 0.5, 2, 3, 3, 1]
    assert [group.from_epoch for group in groups] == [0, 0, 1, 1, 1, 0]
    assert [group.until_epoch for group in groups] == [FOREVER, FOREVER, 4, 4, 4, FOREVER]
    assert len(text) == 6
    assert list(corpora) == list(corpora)  # read anew, in the same order
    assert len(corpora.groups) == 4


def test_a_table_may_have_the_target_first(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", " one\t一 \n\t二\n three \t 三\tnumbers\tmore\n")
    text = read_corpora(within(tmp_path, [CorpusRecipe(path="a.tsv", reverse=True)]))
    assert text.sources == ["一", "三"]
    assert text.targets == ["one", "three"]
    assert text.corpora == ["a.tsv", "numbers"]


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\u2028二\tone\x0b\x85\rtwo\n")
    text = read_corpora(within(tmp_path, [CorpusRecipe(path="a.tsv")]))
    assert (text.sources, text.targets) == (["一\u2028二"], ["one\x0b\x85\rtwo"])


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_sides_of_different_length_are_refused(tmp_path: Path, suffix: str) -> None:
    for name, text in (("a.zh", "一\n二\n三\n"), ("a.en", "one\ntwo\n")):
        data = text.encode()
        (tmp_path / (name + suffix)).write_bytes(lzma.compress(data) if suffix else data)
    recipe = CorpusRecipe(source="a.zh" + suffix, target="a.en" + suffix)
    with pytest.raises(TrainError, match=r"a\.zh\S* has 3 lines and \S*a\.en\S* has 2"):
        read_corpora(within(tmp_path, [recipe]))


def test_line_without_tab_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\n二 two\n")
    with pytest.raises(TrainError, match=r"a\.tsv, line 2: no tab in '二 two'"):
        read_corpora(within(tmp_path, [CorpusRecipe(path="a.tsv")]))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "a.tsv", "a.tsv: corpus not found"),
        (None, "a.tsv.xz", "a.tsv.xz: corpus not found"),
        ("你好\thello".encode("gb18030"), "a.tsv", "a.tsv, line 1 is not UTF-8"),
        (lzma.compress("你好\thello".encode("gb18030")), "a.tsv.xz", "line 1 is not UTF-8"),
        (b"plain text", "a.tsv.xz", "a.tsv.xz is damaged"),
        (lzma.compress(b"one\ttwo\n" * 999)[:-30], "a.tsv.xz", "a.tsv.xz is damaged"),
        (b"plain text", "a.tsv.gz", "a.tsv.gz is damaged"),
        (b"", "a.tsv", "no sentence pair"),
        (b"one\t \n\ttwo\n", "a.tsv", "no sentence pair"),
    ],
)
def test_unreadable_corpora(tmp_path: Path, content: bytes | None, name: str, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainError, match=message) as caught:
        read_corpora(within(tmp_path, [CorpusRecipe(path=name)]))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="cannot be read"):
        read_corpora(within(tmp_path, [CorpusRecipe(path=".")]))


def test_unknown_corpus_name_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\tbooks\n二\ttwo\tnews\n")
    with pytest.raises(TrainError, match="no corpus 'boks'; it holds books, news"):
        read_corpora(within(tmp_path, [CorpusRecipe(path="a.tsv", corpora={"boks": 2.0})]))


def test_weight_zero_everywhere_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", "一\tone\n")
    with pytest.raises(TrainError, match="weight above 0"):
        read_corpora(within(tmp_path, [CorpusRecipe(path="a.tsv", weight=0.0)]))


def test_a_sample_is_drawn_by_weight_and_bounded(tmp_path: Path) -> None:
    for name, count in (("often", 300), ("seldom", 600)):
        lines = "".join(f"{name}{i}\t{i}\n" for i in range(count))
        write(tmp_path / f"{name}.tsv", lines)
    recipes = [
        CorpusRecipe(path="often.tsv", weight=4.0),
        CorpusRecipe(path="seldom.tsv", weight=0.25),
    ]
    corpora = Corpora(within(tmp_path, recipes))
    all_of_it = draw_sample(corpora, 10_000, seed=1)
    names = [source.rstrip("0123456789") for source in all_of_it.sources]
    assert names[:300] == ["often"] * 300 and set(names[300:]) == {"seldom"}
    assert 600 * 0.25 * 0.7 < names.count("seldom") < 600 * 0.25 * 1.3
    assert len(set(all_of_it.sources)) == len(all_of_it)

    drawn = np.zeros(300)
    for seed in range(200):
        some = draw_sample(corpora, 45, seed)
        assert len(some) == 45 and len(set(some.sources)) == 45
        for source, target in zip(some.sources, some.targets, strict=True):
            assert source.endswith(target)
            if source.startswith("often"):
                drawn[int(target)] += 1
    # 45 of about 450 pairs: each of the 300 is drawn a tenth of the times, early or late
    assert drawn.mean() == pytest.approx(20, rel=0.1)
    assert drawn[:100].mean() == pytest.approx(drawn[200:].mean(), rel=0.15)


def test_sample_is_spread_over_the_text(recipe_path: Path) -> None:
    text = read_corpora(load_recipe(recipe_path).data.train)
    sources, targets = text.sample(7)
    positions = [text.sources.index(s) for s in sources]
    assert len(sources) == 7 and targets == [s.upper() for s in sources]
    assert positions[0] == 0 and sources[-1] == text.sources[-1]
    assert text.sample(999) == (text.sources, text.targets)

"""Augmentations: what is changed on one side is changed on the other, and nothing else is."""

import re
from pathlib import Path

import numpy as np
import pytest

from tfm.trainer.config import load_recipe
from tfm.trainer.data.augmentation import AugmentationName, Names, augment, joining
from tfm.trainer.data.augmentation.chinese_persons import GIVEN, SURNAMES, random_person
from tfm.trainer.data.augmentation.numerals import english_numeral, read_chinese_numeral
from tfm.trainer.data.corpora import Corpora
from tfm.trainer.data.recipe import CorpusRecipe
from tfm.trainer.errors import TrainError

NAMES = Names(
    [
        [
            ("汤姆", "Tom", "person"),
            ("王芳", "Wang Fang", "person"),
            ("波士顿", "Boston", "place"),
            ("北京", "Beijing", "place"),
            ("日本", "Japan", "place"),
            ("美国", "United States", "place"),
        ]
    ]
)
PERSONS = {"汤姆": "Tom", "王芳": "Wang Fang"}
PLACES = {"波士顿": "Boston", "北京": "Beijing", "日本": "Japan", "美国": "United States"}


def augmented(
    name: AugmentationName, chinese: str, english: str, variants: int = 50, reverse: bool = False
) -> list[tuple[str, str]]:
    """Chinese and English of each variant of one pair."""
    pair = (english, chinese, "c") if reverse else (chinese, english, "c")
    rows = [(source, target) for source, target, _ in augment([pair], name, NAMES, variants)]
    return [(target, source) for source, target in rows] if reverse else rows


@pytest.mark.parametrize("reverse", [False, True])
def test_names_are_replaced_by_names_of_their_kind(reverse: bool) -> None:
    rows = augmented("names", "汤姆去波士顿。", "Tom goes to Boston.", reverse=reverse)
    assert len(rows) == 50
    assert set(rows) == {
        (f"{person}去{place}。", f"{PERSONS[person]} goes to {PLACES[place]}.")
        for person in PERSONS
        for place in PLACES
    }


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("他是日本人。", "He is from Japan."),  # 日本人 is a word of its own
        ("汤姆和汤姆。", "Tom and Tom."),  # which is which?
        ("我去美国。", "I go to the United States."),  # the article would stay
        ("去日本的人。", "Japanese people."),
        ("我去北京。", "I go to the capital."),
        ("汤姆·琼斯来了。", "Tom comes."),
        ("我走了。", "I am leaving."),
    ],
)
def test_where_a_name_cannot_be_replaced_there_is_no_pair(chinese: str, english: str) -> None:
    assert augmented("names", chinese, english) == []


SIGHTS = Names(
    [[("长城", "the Great Wall", "sight"), ("白宫", "the White House", "sight")], []],
)


@pytest.mark.parametrize(
    ("chinese", "english", "changed"),
    [
        ("我看见长城了。", "I saw the Great Wall.", "I saw the White House."),
        ("长城很长。", "The Great Wall is long.", "The White House is long."),
        ("白宫很白。", "It's white. The White House.", "It's white. The Great Wall."),
    ],
)
def test_a_names_article_changes_with_it(chinese: str, english: str, changed: str) -> None:
    rows = augment([(chinese, english, "c")] * 20, "names", SIGHTS, 1)
    assert {row[1] for row in rows} == {english, changed}


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("我看见长城了。", "I saw a the Great Wall."),
        ("我看见长城了。", "I saw the Great Walls."),
        ("长城，长城！", "The Great Wall, the Great Wall!"),
        ("我看见长城了。", "I saw Great Wall."),
    ],
)
def test_a_name_with_its_article_stands_there_once(chinese: str, english: str) -> None:
    assert list(augment([(chinese, english, "c")], "names", SIGHTS, 5)) == []


def test_made_up_persons_read_in_pinyin_as_they_are_written() -> None:
    """Against pypinyin's readings of surnames and of single characters, written down once."""
    syllables = {
        "王": "Wang",
        "晓": "xiao",
        "东": "dong",
        "爱": "ai",
        "欧阳": "Ouyang",
        "英": "ying",
    }
    known = dict(SURNAMES) | dict(GIVEN)
    assert {character: known[character] for character in syllables} == syllables
    generator = np.random.default_rng(1)
    names = [random_person(generator) for _ in range(3000)]
    assert len(set(names)) > 2500
    for chinese, english in names:
        family, given = english.split(" ")
        surname = next(s for s, pinyin in SURNAMES if chinese.startswith(s) and pinyin == family)
        rest = [dict(GIVEN)[character] for character in chinese[len(surname) :]]
        assert len(rest) in {1, 2}
        assert given.replace("'", "").lower() == "".join(rest)
        assert ("'" in given) == (len(rest) == 2 and rest[1][0] in "aeo")


@pytest.mark.parametrize(("share", "made_up"), [(0.0, 0), (0.5, 500), (1.0, 1000)])
def test_the_share_of_made_up_persons(share: float, made_up: int) -> None:
    names = Names([[("汤姆", "Tom", "person"), ("北京", "Beijing", "place")]], share)
    generator = np.random.default_rng(2)
    drawn = [names.draw("person", generator) for _ in range(1000)]
    assert abs(sum(name != ("汤姆", "Tom") for name in drawn) - made_up) < 60
    assert names.draw("place", generator) == ("北京", "Beijing")


def test_numerals_and_number_words_change_together() -> None:
    rows = augmented("numbers", "我等了三个小时。", "I waited three hours.", 300)
    values = set()
    for chinese, english in rows:
        match = re.fullmatch("我等了(.+)个小时。", chinese)
        assert match is not None
        value = read_chinese_numeral(match[1])
        assert value is not None
        assert english == f"I waited {english_numeral(value)} hours."
        assert "二个" not in chinese or value != 2
        values.add(value)
    assert len(values) > 30
    assert min(values) >= 2


def test_digits_keep_their_length_and_years_stay_years() -> None:
    for chinese, english in augmented("numbers", "共 58 页。", "58 pages."):
        assert re.fullmatch(r"共 ([1-9]\d) 页。", chinese)
        assert english == f"{chinese[2:4]} pages."
    for chinese, english in augmented("numbers", "他1995年来。", "He came in 1995."):
        assert re.fullmatch(r"他(19|20)\d\d年来。", chinese)
        assert english == f"He came in {chinese[1:5]}."


@pytest.mark.parametrize(("digits", "changed"), [(18, 1), (19, 0), (5000, 0)])
def test_numbers_too_long_for_an_integer_stay(digits: int, changed: int) -> None:
    number = "6" * digits
    rows = augmented("numbers", f"卡号是 {number} 。", f"The card is {number}.", 1)
    assert len(rows) == changed
    assert all(number not in row[0] + row[1] for row in rows)


@pytest.mark.parametrize(
    ("chinese", "english", "accepted"),
    [
        ("我三月走。", "I leave in March.", {("我十月走。", "I leave in October.")}),
        ("星期一见。", "See you Monday.", {("星期日见。", "See you Sunday.")}),
        ("要五百日元。", "It is 500 yen.", {("要五百元。", "It is 500 yuan.")}),
        ("要500美元。", "It is 500 dollars.", set()),
    ],
)
def test_months_weekdays_and_currencies_change_together(
    chinese: str, english: str, accepted: set[tuple[str, str]]
) -> None:
    rows = set(augmented("numbers", chinese, english, 300))
    assert accepted <= rows
    assert len(rows) > 4


@pytest.mark.parametrize(
    ("chinese", "english"),
    [("我有一个。", "I have one."), ("第三天。", "The third day."), ("三明治", "A sandwich")],
)
def test_what_is_no_number_stays_out(chinese: str, english: str) -> None:
    assert augmented("numbers", chinese, english) == []


@pytest.mark.parametrize(
    ("chinese", "english"),
    [("打开 notes.txt 文件。", "Open the file notes.txt."), ("汤姆来了。", "Tom has come.")],
)
def test_what_is_copied_stands_in_both(chinese: str, english: str) -> None:
    start, end = ("打开", "文件。") if "文件" in chinese else ("", "来了。")
    before, after = english.replace("Tom", "notes.txt").split("notes.txt")
    items = set()
    for source, target in augmented("copies", chinese, english, 300):
        item = source.removeprefix(start).removesuffix(end).strip()
        assert target == f"{before}{item}{after}"
        items.add(item)
    assert len(items) > 200
    for pattern in (
        r"https?://",
        r"@",
        r"\{\w+\}",
        r"%s",
        r"\.(pdf|txt|md)$",
        "[\U0001f300-\U0001f6ff]",
    ):
        assert any(re.search(pattern, item) for item in items), pattern


def test_something_is_added_where_nothing_can_be_replaced() -> None:
    rows = augmented("copies", "我走了。", "I am leaving.", 300)
    assert len(rows) == 300
    assert ("<b>我走了。</b>", "<b>I am leaving.</b>") in rows
    for chinese, english in rows:
        item = chinese.replace("我走了", "").strip("。：: “”（）【】").removesuffix("。</")
        assert all(part in english for part in re.findall(r"[\w./@%{}]+", item))


def test_sentences_are_joined_in_the_same_order_on_both_sides() -> None:
    pairs = [(f"句子{i}。", f"Sentence {i}.", "c") for i in range(40)]
    rows = list(augment(pairs, "joined", None, 1))
    assert len(rows) >= 13
    seen: list[str] = []
    for chinese, english, corpus in rows:
        numbers = re.findall(r"\d+", chinese)
        assert 2 <= len(numbers) <= 3
        assert english == " ".join(f"Sentence {number}." for number in numbers)
        assert corpus == "c"
        seen += numbers
    assert len(seen) == len(set(seen)) >= 38


def test_sentences_of_different_corpora_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "BUFFER", 25)
    pairs = [(f"句子{i}。", f"Sentence {i}.", "ab"[i % 2]) for i in range(100)]
    unread = iter(pairs)
    rows = augment(unread, "joined", None, 1)
    first = next(rows)
    assert len(list(unread)) == 75  # no more is held than what is drawn from
    joined = [first, *rows]
    assert len(joined) > 7
    for _, english, corpus in joined:
        numbers = [int(number) for number in re.findall(r"\d+", english)]
        assert {"ab"[number % 2] for number in numbers} == {corpus}


def test_a_sentence_is_not_joined_with_itself() -> None:
    pairs = [(f"句子{i}。", f"Sentence {i}.", "c") for i in range(6)]
    rows = list(augment(pairs, "joined", None, 50))
    assert len(rows) > 50
    for chinese, _, _ in rows:
        numbers = re.findall(r"\d+", chinese)
        assert len(set(numbers)) == len(numbers)
    assert list(augment(pairs[:1], "joined", None, 50)) == []


def test_unfinished_sentences_are_not_joined() -> None:
    pairs = [("菜单", "Menu", "c"), ("好。", "Good.", "c"), ("行。", "OK.", "c")]
    (row,) = augment(pairs, "joined", None, 1)
    assert "菜单" not in row[0]


@pytest.mark.parametrize(
    ("reverse", "expected"),
    [
        (
            False,
            {
                ("你好吗", "How are you?"),
                ("你好吗？？", "How are you??"),
                ("你好吗?", "How are you?"),
            },
        ),
        (
            True,
            {
                ("你好吗？", "How are you"),
                ("你好吗？？？", "How are you???"),
                ("你好吗？", "How are you？"),
            },
        ),
    ],
)
def test_punctuation_is_dropped_repeated_and_of_another_width(
    reverse: bool, expected: set[tuple[str, str]]
) -> None:
    assert expected <= set(augmented("punctuation", "你好吗？", "How are you?", 100, reverse))


def test_capitals_are_for_an_english_source() -> None:
    assert set(augmented("capitals", "你好。", "Hello Tom.", reverse=True)) == {
        ("你好。", "HELLO TOM."),
        ("你好。", "hello tom"),
    }
    assert augmented("capitals", "你好。", "Hello Tom.") == []


def test_pairs_without_chinese_on_one_side_are_left_out() -> None:
    assert augmented("punctuation", "Good day.", "Hello.") == []
    assert augmented("punctuation", "好。", "你好。") == []


def test_a_recipe_names_augmentation_names_and_weights(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text(
        "汤姆\tTom\tlist\n王芳\tWang Fang\tlist\n土星\tSaturn\tplanet\n", "utf-8"
    )
    (tmp_path / "a.tsv").write_text(
        "汤姆走了。\tTom left.\tx\n汤姆在。\tTom is in.\ty\n土星大。\tSaturn is big.\tx\n", "utf-8"
    )
    recipe = CorpusRecipe(
        path="a.tsv",
        corpora={"x": 2.0, "y": 0.0},
        augmentation="names",
        names=("names.tsv",),
        kinds={"list": "person"},
        variants=20,
    ).relative_to(tmp_path)
    corpora = Corpora([recipe])
    rows = list(corpora)
    assert len(rows) == 20
    assert {(source, target) for source, target, _ in rows} == {
        ("汤姆走了。", "Tom left."),
        ("王芳走了。", "Wang Fang left."),
    }
    assert rows == list(Corpora([recipe]))  # the same each time
    assert [(group.corpus, group.weight) for group in corpora.groups] == [("x", 2.0)]
    assert set(corpora.files()) == {tmp_path / "a.tsv", tmp_path / "names.tsv"}
    (tmp_path / "names.tsv").unlink()
    with pytest.raises(TrainError, match=r"names\.tsv"):
        corpora.check()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('augmentation = "names"', "needs names"),
        ('names = ["names.tsv"]', "need an augmentation"),
        ("variants = 3", "need an augmentation"),
        ("made_up_persons = 0.5", "need an augmentation"),
        ('augmentation = "rhymes"', "augmentation"),
    ],
)
def test_bad_recipes_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'[[data.train]]\npath = "a.tsv"\n{lines}\n[data.validation]\npath = "b.tsv"\n', "utf-8"
    )
    with pytest.raises(TrainError, match=message):
        load_recipe(path)


def test_the_recipes_of_the_bundled_models_are_valid() -> None:
    folder = Path(__file__).parents[4] / "trainer" / "recipes" / "zh-en"
    for name in ("zh-en", "en-zh"):
        recipe = load_recipe(folder / f"{name}.toml")
        assert {corpus.augmentation for corpus in recipe.data.train} >= {"names", "copies", None}

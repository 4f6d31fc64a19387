"""Glossaries: which terms are in a sentence, and whether a translation has them."""

import pytest

from tfm.runtime import Terms
from tfm.runtime.terms import contains_phrase


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("机器学习很有用。", ["machine learning"]),  # the longer one
        ("机器学习和机器和机器学习", ["machine learning", "machine"]),  # each once
        ("用Python做", ["Python 3"]),  # Hanzi are no part of the word
        ("MicroPython, Pythons, 3Python", []),
        ("A+ Python.", ["top mark", "Python 3"]),
        ("PYTHON 机 器", []),
        ("", []),
    ],
)
def test_terms_of_a_sentence(sentence: str, expected: list[str]) -> None:
    terms = Terms(
        {
            "机器": "machine",
            "机器学习": "machine  learning ",
            "Python": "Python 3",
            "A+": "top mark",
        }
    )
    assert [term.target for term in terms.find(sentence)] == expected
    assert len(terms) == 4 and Terms({}).find(sentence) == []


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("the machine learning.", "machine learning", True),
        ("two machines", "machine", False),
        ("pre-machine", "machine", True),
        ("机器学习", "机器", True),
        ("see {name}s", "{name}", True),
        ("x$y.z", "$y.", True),
        ("Machine", "machine", False),
        ("naïve", "na", False),
        ("abc_d", "abc", True),
    ],
)
def test_phrases_stand_alone(text: str, phrase: str, expected: bool) -> None:
    assert contains_phrase(text, phrase) is expected


def test_a_file_of_terms() -> None:
    lines = ["北京\tBeijing\n", "# a comment\n", "\n", "纽约 \t New  York\tnoun\r\n"]
    terms = Terms.of_lines(lines, "terms.tsv")
    assert [t.target for t in terms.find("从北京到纽约")] == ["Beijing", "New York"]
    assert terms.digest == Terms({"北京": "Beijing", "纽约": "New York"}).digest
    assert terms.digest != Terms({"北京": "Beijing"}).digest


@pytest.mark.parametrize("line", ["北京", "北京\t", "\tBeijing", "北京\t \tx"])
def test_a_line_that_is_no_term(line: str) -> None:
    with pytest.raises(ValueError, match=r"terms.tsv, line 2: '.*' is no term: source<TAB>target"):
        Terms.of_lines(["a\tb", line], "terms.tsv")


def test_half_of_a_surrogate_pair_is_no_term() -> None:
    for phrases in ({"a": "\ud800"}, {"\ud800": "a"}):
        with pytest.raises(ValueError, match=r"terms has '.*': '\\ud800' is not UTF-8"):
            Terms(phrases)


@pytest.mark.parametrize("phrases", [{"": "a"}, {"a": " "}, {"a": 3}, {None: "a"}])
def test_a_term_must_be_text(phrases: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="both sides must be text that is not empty"):
        Terms(phrases)

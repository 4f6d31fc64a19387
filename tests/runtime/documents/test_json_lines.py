"""Texts under keys are translated in their places, and all other bytes of the lines stay."""

import json

import pytest
from helpers.documents import copied, translated
from hypothesis import given, settings
from hypothesis import strategies as st

from tfm.runtime.documents.json_lines import iterate_jsonl, parse_jsonl


def test_only_the_text_changes() -> None:
    text = (
        '\ufeff{ "id":1.50, "zh" : "你好。\\n\\"再见\\"。", "x":["zh","甲"] }\r\n\n'
        '{"zh":"\\u4f60\\u597d","\\u007ah":"甲"}'
    )
    document = parse_jsonl(text, "zh", "en", keys=["zh"])
    assert [s.text for s in document.segments] == ["你好。", '"再见"。', "你好", "甲"]
    said = {"你好。": "Hi.", '"再见"。': '"Bye" é.', "你好": "Hé"}
    assert translated(document, **said) == (
        '\ufeff{ "id":1.50, "zh" : "Hi.\\n\\"Bye\\" é.", "x":["zh","甲"] }\r\n\n'
        '{"zh":"Hé","\\u007ah":"甲"}'
    )


def test_escapes_as_the_line_has_them() -> None:
    document = parse_jsonl('{"zh":"\\u4f60"}', "zh", "en", keys=["zh"])
    assert translated(document, 你="é") == '{"zh":"\\u00e9"}'


def test_keys_in_objects_and_lists() -> None:
    text = '{"translation":{"zh":"甲","en":"x"},"m":[{"c":"乙"},{"c":["丙",["丁",{"c":"戊"}]]}]}\n'
    document = parse_jsonl(text, "zh", "en", keys=["translation.zh", "m.c"])
    assert [s.text for s in document.segments] == ["甲", "乙", "丙", "丁"]
    assert translated(document, 甲="A", 乙="B", 丙="C", 丁="D") == (
        '{"translation":{"zh":"A","en":"x"},"m":[{"c":"B"},{"c":["C",["D",{"c":"戊"}]]}]}\n'
    )


def test_into_a_new_key() -> None:
    text = '{"zh": "甲", "n": 1}\n{"zh":["乙", "丙"],"n":1}\n{"zh":"1","en":"x"}\n'
    document = parse_jsonl(text, "zh", "en", keys=["zh"], into=["en"])
    result = translated(document, 甲='"A"', 乙="B")
    assert result == (
        '{"zh": "甲", "en": "\\"A\\"", "n": 1}\n{"zh":["乙", "丙"],"en":["B", "丙"],"n":1}\n'
        '{"zh":"1","en":"x"}\n'
    )
    assert document.notes == ["line 3: there is a key 'en' already: name another new one"]


def test_what_is_wrong_is_noted_and_the_rest_is_translated() -> None:
    lines = [
        '{"zh":"甲"}\n', '{"zh":"甲"\n', '["甲"]\n', '{"en":"甲"}\n', '{"zh":"\\ud800甲"}\n',
        '{"zh":null}\n', "[" * 100_000 + "\n", '{"zh":"甲"}\n',
    ]  # fmt: skip
    text = "".join(lines)
    document = parse_jsonl(text, "zh", "en", keys=["zh"])
    assert [note.partition(" (")[0] for note in document.notes] == [
        "line 2: no JSON",
        "line 3: no object with keys: left as it is",
        "line 4: no text under the key 'zh'",
        "line 5: the text under 'zh' has half a character: left as it is",
        "line 6: no text under the key 'zh'",
        "line 7: the objects in it are nested too deeply: left as it is",
    ]
    assert copied(document) == text
    changed = translated(document, 甲="A")
    assert changed == "".join(['{"zh":"A"}\n', *lines[1:7], '{"zh":"A"}\n'])
    parts = list(iterate_jsonl(lines, "zh", "en", keys=["zh"]))
    assert "".join(translated(part, 甲="A") for part in parts) == changed
    assert [note for part in parts for note in part.notes] == document.notes


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="no key to translate"):
        parse_jsonl("", "zh", "en", keys=[])
    with pytest.raises(ValueError, match="1 keys to translate into 2 new ones"):
        parse_jsonl("", "zh", "en", keys=["a"], into=["b", "c"])


TEXTS = st.text(alphabet=st.sampled_from([*'甲a。"\\\n\té😀/{}[],:']), max_size=8)
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.integers(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.dictionaries(TEXTS, VALUES, max_size=3), TEXTS), max_size=4),
    st.booleans(),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " :  ")]),
)
def test_all_else_is_as_the_json_module_reads_it(
    objects: list, ascii_only: bool, separators: tuple[str, str]
) -> None:
    objects = [{**others, "zh": text} for others, text in objects]
    text = "".join(
        json.dumps(value, ensure_ascii=ascii_only, separators=separators) + "\n"
        for value in objects
    )
    document = parse_jsonl(text, "zh", "zh", keys=["zh"])
    assert copied(document) == text
    result = [json.loads(line) for line in translated(document).splitlines()]
    assert result == [{**value, "zh": value["zh"].upper()} for value in objects]
    behind = translated(parse_jsonl(text, "zh", "zh", keys=["zh"], into=["new"]))
    for line, value in zip(behind.splitlines(), objects, strict=True):
        assert json.loads(line) == {**value, "new": value["zh"].upper()}


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from([*'甲"\\{}[]:,z\n1']), max_size=40))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert copied(parse_jsonl(text, "zh", "en", keys=["z"])) == text


@pytest.mark.parametrize("part", ['{"zh":"', "{", '"', "\\", '{"a":[', "\n", '{"zh":"甲"}'])
def test_hostile_lines_take_time_in_proportion(part: str) -> None:
    text = '{"zh":"甲",' + part * 20_000
    assert copied(parse_jsonl(text, "zh", "en", keys=["zh"])) == text
    text = '{"zh":' + json.dumps(part * 20_000) + "}\n"
    assert copied(parse_jsonl(text, "zh", "en", keys=["zh"])) == text

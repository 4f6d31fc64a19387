"""The page is one file that loads nothing, and holds any text as it is."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.numerals import chinese

from tfm.runtime import Translator
from tfm.runtime.explain import explain
from tfm.runtime.explain.page import page

HOSTILE = (
    "</script><script>alert(1)</script><!-- & &amp; \"quotes\" 'here' {{facts}} $x$ 😀 \u2028 ‮"
)


class Parsed(HTMLParser):
    """The elements of a page, and the text of those that have an id."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self._open.append(dict(attributes).get("id") or "")

    def handle_endtag(self, _tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1]:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


def facts_of(parsed: Parsed) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(parsed.texts["facts"])
    return data


def test_it_loads_nothing(translator: Translator) -> None:
    text = page(explain(translator, chinese(3052), max_length=16))
    parsed = Parsed(text)
    for tag, attributes in parsed.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "video", "audio")
        assert not {"src", "href", "srcset", "data", "action", "poster"} & attributes.keys()
    # A namespace is a name, and nobody loads it.
    assert set(re.findall(r"\w+://[^\s\"']*", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(|\{\{", text)
    policies = [
        a["content"] for t, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]


def test_any_text_is_shown_as_it_is(translator: Translator) -> None:
    explanation = explain(translator, HOSTILE, HOSTILE)
    text = page(explanation)
    parsed = Parsed(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 2
    assert parsed.texts["source-text"] == HOSTILE
    assert parsed.texts["target-text"] == HOSTILE
    data = facts_of(parsed)
    assert data == json.loads(json.dumps(explanation.to_json()))
    assert data["source"] == HOSTILE
    assert "<!--" not in text and "\u2028" not in parsed.texts["facts"]


def test_what_was_used_is_said(translator: Translator) -> None:
    text = page(explain(translator, chinese(7), beam_size=3, length_penalty=0.6))
    for part in ("Model tiny", "variant fp32 on cpu", "beam_size 3", "length_penalty 0.6", "tfm 0"):
        assert part in text


def test_probabilities_can_be_read_without_scripts(translator: Translator) -> None:
    explanation = explain(translator, chinese(7), "seven")
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?) %</td><td>(.*?)</td></tr>", page(explanation))
    assert [token for token, _, _ in rows] == [
        token.replace("<", "&lt;").replace(">", "&gt;") for token in explanation.target_tokens
    ]
    assert [float(value) for _, _, value in rows] == pytest.approx(explanation.log_probs, abs=1e-4)

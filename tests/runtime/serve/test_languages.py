"""Codes of languages, and which language a text is in."""

import pytest

from tfm.runtime.serve.detection import detect_languages
from tfm.runtime.serve.languages import deepl_name, deepl_targets, find_code, language_name


@pytest.mark.parametrize(
    ("code", "found"),
    [
        *(
            (code, "zh")
            for code in ("zh", "ZH", "zh-Hans", "zh-hans", "zh_CN", "zh-Hans-CN", "cmn")
        ),
        *((code, "en") for code in ("en", "EN-US", "en_GB", " en ")),
        *((code, None) for code in ("zh-TW", "zh-Hant", "zt", "xx", "", "-", "en-", "auto", "e n")),
    ],
)
def test_codes(code: str, found: str | None) -> None:
    assert find_code(code, ["zh", "en"]) == found


def test_codes_of_other_models() -> None:
    assert find_code("ZHO_hans", ["zho_Hans", "eng_Latn"]) == "zho_Hans"
    assert find_code("pt-BR", ["pt"]) == "pt"
    assert find_code("pt-BR", ["pt", "pt-BR"]) == "pt-BR"


def test_names() -> None:
    assert language_name("zh") == "Chinese"
    assert language_name("zho_Hans") == "zho_Hans"
    assert deepl_targets("en") == ("EN-GB", "EN-US")
    assert deepl_name("ZH-HANS") == "Chinese (simplified)"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我爱你。", "zh"),
        ("I love you.", "en"),
        ("请打开 Google Chrome 浏览器。", "zh"),
        ('The word "你好" means hello in Chinese.', "en"),
        ("看 https://example.org/a/long/path/of/words", "zh"),
        ("OK", "en"),
        ("龘", "zh"),
    ],
)
def test_detection(text: str, language: str) -> None:
    first, *rest = detect_languages(text, ["en", "zh"])
    assert first.language == language
    assert 50 < first.confidence <= 100
    assert sum(found.confidence for found in (first, *rest)) <= 100.1


def test_what_is_in_no_language() -> None:
    for text in ("", "123", "🙂", "...", "Привет, мир"):
        assert detect_languages(text, ["en", "zh"]) == []


def test_scripts_that_languages_share() -> None:
    assert detect_languages("今天", ["ja", "zh"])[0].language == "zh"
    assert detect_languages("今日は", ["ja", "zh"])[0].language == "ja"
    assert [f.language for f in detect_languages("Guten Tag", ["de", "fr"])] == ["de", "fr"]

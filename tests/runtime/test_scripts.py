"""Text in another script than the model's language is noticed, and nothing else is."""

import logging

import pytest

from tfm.runtime.scripts import is_in_other_script, scripts_of, warn_of_other_script


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("How are you?", "zh"),
        ("Good morning", "zho_Hans"),
        ("C'est la vie, mon ami", "ru"),
        ("Hello my friend", "ja"),
        ("今天天气很好。", "en"),
        ("我用iPhone打电话", "en"),
        ("こんにちは", "eng_Latn"),
        ("안녕하세요 여러분", "de"),
        ("Привет, мир", "zh"),
        ("Γειά σου κόσμε", "en"),
        ("मैं ठीक हूँ", "fr"),
        ("كيف حالك", "zh-CN"),
        ("Привет, как дела", "ar"),
        ("สวัสดีครับ", "en"),
    ],
)
def test_another_script(sentence: str, language: str) -> None:
    assert is_in_other_script(sentence, language)


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("我爱你。", "zh"),
        ("我爱你。", "cmn_Hant"),
        ("北京大学", "ja"),
        ("I love you", "en"),
        ("Grüße aus Köln", "de"),
        ("iPhone 15 Pro Max", "zh"),
        ("OpenAI", "zh"),
        ("请打开 Visual Studio Code 的 settings.json 文件", "zh"),
        ("https://a.b/some/long/path see@you.com www.x.org/of/the", "zh"),
        ("123 456.7 %", "zh"),
        ("😀😀👍", "en"),
        ("α β γ x = 1", "en"),
        ("He said 你好 to me", "en"),
        ("НАТО и ЕС", "ru"),
        ("Windows 11 вышла", "ru"),
        ("你", "en"),
        ("", "zh"),
        ("How are you?", "source"),
        ("How are you?", "sr"),  # written in two scripts
        ("你好 世界", "xxx_Cans"),  # in one that is not known here
    ],
)
def test_no_false_alarm(sentence: str, language: str) -> None:
    assert not is_in_other_script(sentence, language)


def test_codes_of_languages() -> None:
    assert scripts_of("zh") == scripts_of("cmn") == scripts_of("zho_Hant") == ("Hani",)
    assert scripts_of("zh_CN") == scripts_of("ZH-tw") == ("Hani",)
    assert scripts_of("srp_Cyrl") == ("Cyrl",)
    assert scripts_of("jpn_Jpan") == scripts_of("ja") == ("Kana", "Hani")
    assert scripts_of("") == scripts_of("mul") == ()


def test_one_warning_if_it_is_at_least_half(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_other_script(["How are you?", "我爱你。", "我爱你。"], "zh", "en")
        warn_of_other_script([], "zh", "en")
        warn_of_other_script(["How are you?"], "source", "target")
    assert caplog.messages == []
    warn_of_other_script(["How are you?", "我爱你。", ""], "zh", "en")
    assert caplog.messages == [
        "1 of 3 sentences are not in the script of zh, and the translation is from zh to en:"
        " is this the right model and direction? (-m en-zh is the other one)"
    ]
    caplog.clear()
    warn_of_other_script(["How are you?"], "ja", "en")
    assert caplog.messages[0].endswith("the right model and direction?")

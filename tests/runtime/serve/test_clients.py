"""Clients that others wrote, against a running service: text, list, error, limit."""

import urllib.error
from collections.abc import Iterator

import pytest
from helpers.needs import needs_module
from helpers.service import RunningService, running_service

TEXT = "我爱你。今天天气很好。"
TEXTS = ["我爱你。", "你叫什么名字？", "今天天气很好。"]


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """The translations of TEXTS without a service."""
    from tfm.runtime import Translator

    with Translator(intra_threads=1) as translator:
        return [translation.text for translation in translator.translate_batch(TEXTS)]


@pytest.fixture(scope="module")
def busy() -> Iterator[RunningService]:
    """A service whose clients have used up what they may ask for."""
    with running_service("-m", "zh-en", "--req-limit", "1", "--threads", "1") as running:
        running.translate("好")
        yield running


class TestLibretranslatepy:
    def client(self, service: RunningService, key: str | None = None) -> object:
        return needs_module("libretranslatepy").LibreTranslateAPI(service.url, key)

    def test_text(self, service: RunningService, alone: list[str]) -> None:
        client = self.client(service)
        assert client.translate(TEXT, "zh", "en") == f"{alone[0]} {alone[2]}"
        assert client.translate("I love you.", "en", "zh-Hans").startswith("我")

    def test_languages_and_detection(self, service: RunningService) -> None:
        client = self.client(service)
        codes = {language["code"]: language for language in client.languages()}
        assert set(codes) == {"en", "zh-Hans"}
        assert "zh-Hans" in codes["en"]["targets"]
        (found,) = client.detect("我爱你")
        assert found == {"confidence": 100.0, "language": "zh-Hans"}

    def test_error(self, service: RunningService) -> None:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.client(service).translate(TEXT, "zh", "xx")
        with caught.value as error:
            assert error.code == 400

    def test_limit(self, limited: RunningService, busy: RunningService) -> None:
        client = self.client(limited, "right")
        assert "love" in client.translate("我爱你。", "zh", "en")
        for wrong, status in ((self.client(limited, "wrong"), 403), (self.client(limited), 400)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                wrong.translate("我爱你。", "zh", "en")
            with caught.value as error:
                assert error.code == status
        with pytest.raises(urllib.error.HTTPError) as caught:
            client.translate("长" * 41, "zh", "en")
        with caught.value as error:
            assert error.code == 400
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.client(busy).translate("我爱你。", "zh", "en")
        with caught.value as error:
            assert error.code == 429
            assert 1 <= int(error.headers["Retry-After"]) <= 60


class TestDeepTranslator:
    def client(self, service: RunningService, key: str = "right") -> object:
        module = needs_module("deep_translator")
        return module.LibreTranslator(
            source="zh", target="en", api_key=key, custom_url=f"{service.url}/"
        )

    def test_text_and_list(self, service: RunningService, alone: list[str]) -> None:
        client = self.client(service)
        assert client.translate(TEXT) == f"{alone[0]} {alone[2]}"
        assert client.translate_batch(TEXTS) == alone

    def test_error_and_limit(self, limited: RunningService, busy: RunningService) -> None:
        exceptions = needs_module("deep_translator.exceptions")
        assert "love" in self.client(limited).translate("我爱你。")
        with pytest.raises(exceptions.AuthorizationException):
            self.client(limited, "wrong").translate("我爱你。")
        with pytest.raises(exceptions.ServerException):
            self.client(limited).translate("长" * 41)
        with pytest.raises(exceptions.ServerException):
            self.client(busy).translate("我爱你。")


class TestLibretranslateAio:
    def client(self, service: RunningService, key: str | None = None) -> object:
        return needs_module("libretranslate_aio").LibreTranslate(service.url, api_key=key)

    def test_text_and_list(self, service: RunningService, alone: list[str]) -> None:
        with self.client(service) as client:
            assert client.translate(TEXT, "zh", "en").translated_text == f"{alone[0]} {alone[2]}"
            found = client.translate(TEXTS, "auto", "en", alternatives=2)
            assert found.translated_text == alone
            assert [language.language for language in found.detected_language] == ["zh-Hans"] * 3
            for text, others in zip(alone, found.alternatives, strict=True):
                assert len({text, *others}) == 3

    def test_everything_else(self, service: RunningService) -> None:
        with self.client(service) as client:
            assert client.health()
            assert client.detect("hello there")[0].language == "en"
            assert [language.code for language in client.languages()] == ["en", "zh-Hans"]
            settings = client.frontend_settings()
            assert (settings.char_limit, settings.key_required) == (-1, False)

    def test_async(self, service: RunningService, alone: list[str]) -> None:
        import asyncio

        module = needs_module("libretranslate_aio")

        async def main() -> list[str]:
            async with module.AsyncLibreTranslate(service.url) as client:
                found = await asyncio.gather(*(client.translate(q, "zh", "en") for q in TEXTS))
                return [translation.translated_text for translation in found]

        assert asyncio.run(main()) == alone

    def test_error_and_limit(self, limited: RunningService, busy: RunningService) -> None:
        module = needs_module("libretranslate_aio.exceptions")
        with self.client(limited, "right") as client:
            with pytest.raises(module.BadRequestError, match="xx"):
                client.translate("我爱你。", "zh", "xx")
            with pytest.raises(module.BadRequestError, match="4 texts"):
                client.translate(["好"] * 4, "zh", "en")
            with pytest.raises(module.ForbiddenError):
                client.suggest("我", "I", "zh", "en")
        with self.client(limited, "wrong") as client, pytest.raises(module.ForbiddenError):
            client.translate("我爱你。", "zh", "en")
        with self.client(busy) as client, pytest.raises(module.RateLimitError):
            client.translate("我爱你。", "zh", "en")


class TestDeepl:
    def client(
        self, service: RunningService, monkeypatch: pytest.MonkeyPatch, key: str = "right"
    ) -> object:
        module = needs_module("deepl")
        monkeypatch.setattr(module.http_client, "max_network_retries", 0)
        return module.Translator(key, server_url=service.url)

    def test_text_and_list(
        self, service: RunningService, alone: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = self.client(service, monkeypatch)
        found = client.translate_text(TEXT, target_lang="EN-US")
        assert (found.text, found.detected_source_lang) == (f"{alone[0]} {alone[2]}", "ZH")
        assert found.billed_characters == len(TEXT)
        several = client.translate_text(TEXTS, source_lang="ZH", target_lang="EN-GB")
        assert [result.text for result in several] == alone
        back = client.translate_text("I love you.", target_lang="ZH-HANS")
        assert back.text.startswith("我")
        client.close()

    def test_markup(self, service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
        client = self.client(service, monkeypatch)
        found = client.translate_text("<p>我爱你。</p>", target_lang="EN-US", tag_handling="html")
        assert found.text == "<p>I love you.</p>"
        client.close()

    def test_languages_and_usage(
        self, service: RunningService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = self.client(service, monkeypatch)
        assert {language.code for language in client.get_source_languages()} == {"ZH", "EN"}
        targets = {language.code for language in client.get_target_languages()}
        assert {"ZH", "ZH-HANS", "EN-US", "EN-GB"} == targets
        before = client.get_usage().character.count
        client.translate_text("我爱你。", target_lang="EN-US")
        assert client.get_usage().character.count == before + 4
        client.close()

    def test_error_and_limit(
        self, limited: RunningService, busy: RunningService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = needs_module("deepl")
        client = self.client(limited, monkeypatch)
        with pytest.raises(module.DeepLException, match="DE"):
            client.translate_text("我爱你。", target_lang="DE")
        with pytest.raises(module.DeepLException, match="413"):
            client.translate_text("长" * 41, target_lang="EN-US")
        with pytest.raises(module.AuthorizationException):
            self.client(limited, monkeypatch, "wrong").translate_text("好", target_lang="EN-US")
        with pytest.raises(module.TooManyRequestsException):
            self.client(busy, monkeypatch).translate_text("好", target_lang="EN-US")

"""Whole documents over LibreTranslate's /translate_file and /download_file."""

import io
import urllib.parse
import urllib.request
from typing import Any

import pytest
from helpers.browser import chromium
from helpers.needs import needs_module
from helpers.service import RunningService

from tfm.runtime import Translator
from tfm.runtime.serve.files import FileStore

HTML = "<p>我住在<b>北京</b>。</p>\n<p>你好！再见。</p>"


def upload(service: RunningService, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
    parts = [
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
    ]
    parts += [
        f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode()
        for key, value in fields.items()
    ]
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, answer, _ = service.ask("/translate_file", body, headers=headers)
    return status, answer


def fetch(service: RunningService, answer: dict[str, str]) -> tuple[Any, Any]:
    url = answer["translatedFileUrl"]
    assert url.startswith(f"{service.url}/download_file/")
    status, content, headers = service.ask(urllib.parse.urlsplit(url).path)
    assert status == 200
    return content, headers


@pytest.mark.parametrize("source", ["zh", "auto", "zh-TW"])
def test_a_page_comes_back_translated(service: RunningService, source: str) -> None:
    status, answer = upload(service, "dir/页.html", HTML.encode(), source=source, target="en")
    assert status == 200, answer
    content, headers = fetch(service, answer)
    assert content == Translator().translate_document(HTML, "html").text
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''%E9%A1%B5.en.html"


def test_a_word_document(service: RunningService) -> None:
    docx = needs_module("docx")
    document = docx.Document()
    document.add_paragraph("我爱你。")
    saved = io.BytesIO()
    document.save(saved)
    status, answer = upload(service, "a.docx", saved.getvalue(), source="zh", target="en")
    assert status == 200, answer
    with urllib.request.urlopen(answer["translatedFileUrl"]) as response:
        again = docx.Document(io.BytesIO(response.read()))
    assert [paragraph.text for paragraph in again.paragraphs] == ["I love you."]


def test_a_client_of_others_translates_a_file(service: RunningService, tmp_path: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("我爱你。\n", encoding="utf-8")
    with needs_module("libretranslate_aio").LibreTranslate(service.url) as client:
        translated = client.translate_file(str(path), "zh", "en")
    content, _ = fetch(service, {"translatedFileUrl": translated.translated_file_url})
    assert content == "I love you.\n"


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.pdf", b"x", {}, "a.pdf: the name does not say what it is"),
        ("a.csv", b"x", {}, "a.csv: tables are not translated here"),
        ("a.docx", b"x", {}, "the zip archive is broken"),
        ("", b"x", {}, "Invalid request: missing file parameter"),
        ("a.txt", b"x", {"target": "xx"}, "'xx' is not supported"),
        ("a.txt", "你好".encode(), {"target": "zh-TW"}, "'zh-TW' is not supported"),
    ],
)
def test_what_is_refused(
    service: RunningService, name: str, content: bytes, fields: dict[str, str], message: str
) -> None:
    status, answer = upload(service, name, content, **({"source": "zh", "target": "en"} | fields))
    assert status == 400
    assert message in answer["error"] or name == ""


def test_files_are_kept_for_a_time_and_not_without_end() -> None:
    store = FileStore(most_bytes=10, seconds=1000)
    first = store.add("a.txt", b"12345")
    second = store.add("a.txt", b"12345")
    assert first != second and store.find(first) is not None
    store.add("b.txt", b"1")
    assert store.find(first) is None and store.find(second) is not None
    assert store.find("a.txt") is None
    assert FileStore(seconds=-1).add("a", b"") and FileStore(seconds=-1).find("a") is None


def test_an_unknown_file(service: RunningService) -> None:
    status, answer, _ = service.ask("/download_file/none.txt")
    assert (status, answer) == (404, {"error": "there is no such file, or not any more"})
    assert service.ask("/frontend/settings")[1]["filesTranslation"] is True
    assert ".docx" in service.ask("/frontend/settings")[1]["supportedFilesFormat"]


@pytest.mark.slow
def test_a_page_that_is_dropped_into_the_page(service: RunningService, tmp_path: Any) -> None:
    expect = needs_module("playwright.sync_api").expect
    path = tmp_path / "页.html"
    path.write_text(HTML, encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(service.url)
        expect(page.get_by_text("Open a file")).to_be_visible()
        page.set_input_files("#file", str(path))
        link = page.get_by_role("link", name="Save")
        expect(link).to_be_visible(timeout=30_000)
        with page.expect_download() as downloading:
            link.click()
        saved = downloading.value
        assert saved.suggested_filename == "页.en.html"
        expected = Translator().translate_document(HTML, "html").text
        assert saved.path().read_text(encoding="utf-8") == expected
        path = tmp_path / "a.pdf"
        path.write_bytes(b"x")
        page.set_input_files("#file", str(path))
        expect(page.locator("#document-list .error")).to_contain_text("only .txt, .text, .srt")

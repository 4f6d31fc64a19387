"""The page and its engine in Chromium, from the static folder of the bundled models."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import chromium, serve_folder
from helpers.command import tfm
from helpers.javascript import node_package
from helpers.needs import needs_module
from helpers.paths import ROOT, SHARED_DATA

from tfm.runtime import Translator

pytestmark = pytest.mark.slow

expect = needs_module("playwright.sync_api").expect
TEXT = "我想去北京看看我的老同学。今天天气很好，我们去公园散步吧！\n\n请大家准时参加。"
SIZES = {"desk": (1200, 860), "phone": (390, 844)}
LOADING = 60_000  # milliseconds


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    dist = node_package("onnxruntime-web") / "dist"
    status, _, stderr = tfm("web", str(folder), "--onnxruntime-web", str(dist))
    assert status == 0, stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serve_folder(site) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


class Visit:
    """A page in a context of its own, of which nothing may fail or leave its origin."""

    def __init__(self, browser: Any, address: str, scheme: str = "light", size: str = "desk"):
        width, height = SIZES[size]
        self.context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            has_touch=size == "phone",
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.address = address
        self.requested: list[str] = []
        self.wrong: list[str] = []
        self.context.on("request", lambda request: self.requested.append(request.url))
        self.page = self.open()

    def open(self) -> Any:
        page = self.context.new_page()
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.goto(self.address)
        return page

    def translate(self, text: str) -> str:
        """Type a text, wait until it has settled."""
        page = self.page
        page.locator("#announcement").evaluate("element => (element.textContent = '')")
        page.fill("#source", text)
        expect(page.locator("#announcement")).to_contain_text("translated", timeout=LOADING)
        return str(page.locator("#target").inner_text())

    def close(self) -> None:
        assert self.wrong == []
        others = [
            url for url in self.requested if not url.startswith((self.address, "blob:", "data:"))
        ]
        assert others == []
        self.context.close()


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Visit]:
    made = Visit(browser, address, *getattr(request, "param", ()))
    yield made
    made.close()


@pytest.fixture(scope="module")
def translators() -> dict[str, Translator]:
    return {name: Translator(name, intra_threads=1) for name in ("zh-en", "en-zh")}


def test_type_and_read(visit: Visit, translators: dict[str, Translator]) -> None:
    translator = translators["zh-en"]
    page = visit.page
    page.fill("#source", TEXT)
    expect(page.locator("#progress-bar")).to_be_visible(timeout=LOADING)
    expect(page.locator("#announcement")).to_have_text("3 sentences translated", timeout=LOADING)
    sentences = [
        "我想去北京看看我的老同学。",
        "今天天气很好，我们去公园散步吧！",
        "请大家准时参加。",
    ]
    first, second, third = (found.text for found in translator.translate_batch(sentences))
    assert page.locator("#target").inner_text() == f"{first} {second}\n\n{third}"
    assert page.title() == "Chinese to English"
    page.click("#copy")
    expect(page.locator("#state")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{first} {second}\n\n{third}"


def test_only_what_changed_is_asked_again(visit: Visit) -> None:
    visit.page.add_init_script(
        "const post = Worker.prototype.postMessage; window.asked = [];"
        "Worker.prototype.postMessage = function (message) {"
        " if (message.sentence) asked.push(message.sentence); return post.call(this, message); };"
    )
    visit.page.reload()
    visit.translate("我爱你。今天天气很好。")
    visit.translate("我爱你。今天天气很冷。")
    assert visit.page.evaluate("window.asked") == ["我爱你。", "今天天气很好。", "今天天气很冷。"]


def test_the_direction_follows_the_script_and_can_be_swapped(
    visit: Visit, translators: dict[str, Translator]
) -> None:
    page = visit.page
    assert visit.translate("I love you.") == translators["en-zh"].translate("I love you.").text
    assert page.locator("#target-language").input_value() == "zh"
    page.click("#swap")
    expect(page.locator("#target")).to_have_text("I love you.", timeout=LOADING)
    assert page.locator("#source").input_value() == "我爱你。"
    assert page.locator("#source-language").input_value() == "zh"
    page.keyboard.press("Control+Shift+X")
    expect(page.locator("#target")).to_have_text("我爱你。", timeout=LOADING)


def test_what_an_input_method_has_not_finished_is_no_text(visit: Visit) -> None:
    compose = """(area, [text, isComposing]) => {
      area.value = text;
      area.dispatchEvent(new InputEvent("input", { isComposing, bubbles: true }));
    }"""
    source = visit.page.locator("#source")
    source.evaluate(compose, ["wo ai ni", True])
    visit.page.wait_for_timeout(600)
    assert visit.page.locator(".sentence").count() == 0
    assert visit.page.locator("#target-language").input_value() == "en"
    source.evaluate(compose, ["我爱你。", True])
    source.dispatch_event("compositionend")
    expect(visit.page.locator("#target")).to_have_text("I love you.", timeout=LOADING)


def test_a_late_answer_counts_for_its_own_languages(visit: Visit) -> None:
    page = visit.page
    visit.translate("我爱你。")
    page.select_option("#source-language", "zh")
    page.fill("#source", "OK. 你好。" + "今天天气很好。" * 3)
    page.wait_for_timeout(260)  # it has been asked for
    page.select_option("#source-language", "en")
    page.wait_for_timeout(1000)
    page.select_option("#source-language", "zh")
    expect(page.locator("#target")).to_contain_text("The weather", timeout=LOADING)
    expect(page.locator(".sentence.waiting")).to_have_count(0, timeout=LOADING)


def test_alternatives_are_the_best_hypotheses(
    visit: Visit, translators: dict[str, Translator]
) -> None:
    page = visit.page
    sentence = "今天天气很好，我们去公园散步吧！"
    visit.translate(sentence)
    found = translators["zh-en"].translate(sentence, beam_size=5, num_hypotheses=5)
    texts = list(dict.fromkeys(hypothesis.text for hypothesis in found.hypotheses))
    page.locator(".sentence").click()
    expect(page.locator("#alternatives button")).to_have_count(len(texts))
    assert sorted(page.locator("#alternatives button").all_inner_texts()) == sorted(texts)
    page.locator("#alternatives button", has_text=texts[2]).first.click()
    assert page.locator("#target").inner_text() == texts[2]
    page.keyboard.press("Escape")
    expect(page.locator("#sentence")).to_be_hidden()


def test_what_the_word_under_the_pointer_looks_at(visit: Visit) -> None:
    page = visit.page
    visit.translate("我想去北京看看我的老同学。")
    page.locator(".word", has_text="Beijing").hover()
    assert page.locator("#mirror mark").all_inner_texts() == ["北京"]
    page.mouse.move(0, 0)
    assert page.locator("#mirror mark").count() == 0
    page.locator("#source").evaluate("area => { area.focus(); area.setSelectionRange(4, 4); }")
    expect(page.locator(".word.lit")).to_have_text("Beijing")


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    page = visit.page
    visit.translate("我想去北京看看我的老同学。请大家准时参加。")
    page.focus("#source")
    page.keyboard.press("Control+Enter")
    words = page.locator(".sentence").first.locator(".word").all_inner_texts()
    for _ in range(words.index("Beijing")):
        page.keyboard.press("ArrowRight")
    assert page.locator("#mirror mark").all_inner_texts() == ["北京"]
    assert page.locator("#announcement").inner_text() == "Beijing: 北京"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#sentence-source")).to_have_text("请大家准时参加。")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "source"


def test_doubts_say_why(visit: Visit, translators: dict[str, Translator]) -> None:
    sentence = "会议将于2024年3月15日下午3点在会议室举行，请大家准时参加。"
    visit.translate(sentence)
    assert "numbers" in translators["zh-en"].translate(sentence, with_doubts=True).doubts
    expect(visit.page.locator("#doubt-list .reason")).to_contain_text("the numbers differ")
    expect(visit.page.locator(".sentence.doubtful")).to_have_count(1)


def test_offline_after_the_first_visit(
    browser: Any, site: Path, tmp_path: Path, translators: dict[str, Translator]
) -> None:
    folder = shutil.copytree(site, tmp_path / "copy")
    with serve_folder(folder) as address:
        visit = Visit(browser, address)
        first = visit.translate("我爱你。")
        visit.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        visit.page.wait_for_timeout(500)
        visit.page.close()
    # Nothing serves the folder any more.
    visit.page = visit.context.new_page()
    visit.page.goto(address)
    assert visit.translate("我爱你。") == first
    sentence = "今天天气很好。"
    assert visit.translate(sentence) == translators["zh-en"].translate(sentence).text
    visit.page.locator(".word", has_text="weather").hover()
    assert visit.page.locator("#mirror mark").count() == 1
    visit.close()


def test_a_damaged_file_is_one_line(browser: Any, site: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(site, tmp_path / "copy")
    file = folder / "models" / "zh-en" / "source.spm.gz"
    shutil.copy(folder / "models" / "en-zh" / "source.spm.gz", file)
    with serve_folder(folder) as address:
        visit = Visit(browser, address)
        visit.page.fill("#source", "我爱你。")
        expect(visit.page.locator("#error")).to_contain_text(
            "models/zh-en/source.spm.gz is damaged", timeout=LOADING
        )
        visit.close()


def test_text_files_are_translated_whole(
    visit: Visit, translators: dict[str, Translator], tmp_path: Path
) -> None:
    page = visit.page
    text = "# 第一章\n\n我爱你。今天天气很好。\n  - 请大家准时参加。\n"
    (tmp_path / "书.txt").write_bytes(text.encode("gb18030"))
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\0\0")
    page.set_input_files("#file", [tmp_path / "书.txt"])
    with page.expect_download(timeout=LOADING) as download:
        page.locator("#document-list a").click(timeout=LOADING)
    assert download.value.suggested_filename == "书.en.txt"
    translator = translators["zh-en"]
    parts = [translator.translate(s).text for s in ("第一章", "我爱你。", "今天天气很好。")]
    last = translator.translate("请大家准时参加。").text
    assert Path(download.value.path()).read_text("utf-8") == (
        f"# {parts[0]}\n\n{parts[1]} {parts[2]}\n  - {last}\n"
    )
    page.set_input_files("#file", [tmp_path / "image.png"])
    expect(page.locator("#document-list .error")).to_contain_text("only text files (.txt)")


@pytest.mark.parametrize(
    "visit",
    [(scheme, size) for scheme in ("light", "dark") for size in SIZES],
    indirect=True,
    ids=lambda value: "-".join(value),
)
def test_it_fits_and_can_be_read(visit: Visit) -> None:
    page = visit.page
    visit.translate(TEXT)
    page.locator(".sentence").first.click()
    expect(page.locator("#alternatives li").nth(1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    card, ink = (
        page.locator("#target").evaluate(f"e => getComputedStyle(e.closest('.pane')).{name}")
        for name in ("backgroundColor", "color")
    )
    assert card != ink
    tops = [page.locator(pane).bounding_box() for pane in ("#source-pane", "#target-pane")]
    beside = tops[0]["y"] == tops[1]["y"]
    assert beside == (page.viewport_size["width"] > 760)


def committed_sentences(column: int) -> list[str]:
    rows = (ROOT / "tests/models/phrases.tsv").read_text("utf-8").splitlines()
    return [row.split("\t")[column] for row in rows]


SEARCH = """async ({ source, target, sentences, beams }) => {
  const { Translator } = await import("./tfm.js");
  const translator = await Translator.create({ sourceLanguage: source, targetLanguage: target });
  const found = [];
  for (const sentence of sentences) {
    for (const beamSize of beams) {
      found.push(await translator.translateSentence(sentence, { beamSize }));
    }
  }
  return found;
}"""


def ids_differ(
    visit: Visit, translator: Translator, sentences: list[str]
) -> dict[tuple[str, int], float]:
    """The sentences and beam sizes whose ids are not Python's, and how much lower the browser's
    translation scores than Python's, by Python's own opinion."""
    languages = translator.config.languages
    found = visit.page.evaluate(
        SEARCH,
        {
            "source": languages.source,
            "target": languages.target,
            "sentences": sentences,
            "beams": [1, 4],
        },
    )
    differ = {}
    for index, sentence in enumerate(sentences):
        for place, beam_size in enumerate((1, 4)):
            browser = found[2 * index + place]
            best = translator.translate(sentence, beam_size=beam_size).hypotheses[0]
            if browser["tokens"] != list(best.tokens):
                scores = translator.score_batch([sentence] * 2, [best.text, browser["text"]])
                python, other = (
                    score.total / len(score.log_probs) ** translator.options.length_penalty
                    for score in scores
                )
                differ[sentence, beam_size] = python - other
    return differ


def assert_only_rounding_differs(differ: dict[tuple[str, int], float], count: int) -> None:
    """Sums in another order may round to another step of int8, and then of two translations that
    are about as probable the other one may win. Greedily it may win by its first word alone."""
    assert len(differ) <= 0.02 * 2 * count, differ  # two beam sizes of each sentence
    assert all(lower < 0.3 for (_, beam_size), lower in differ.items() if beam_size == 4), differ


def test_ids_are_those_of_python_on_200_sentences(
    visit: Visit, translators: dict[str, Translator]
) -> None:
    """Greedy and with four beams."""
    for name, column in (("zh-en", 0), ("en-zh", 1)):
        sentences = committed_sentences(column)
        differ = ids_differ(visit, translators[name], sentences)
        assert_only_rounding_differs(differ, len(sentences))


def test_ids_on_the_development_set(visit: Visit, translators: dict[str, Translator]) -> None:
    path = SHARED_DATA / "zh-en" / "dev.tsv"
    if not path.exists():
        pytest.skip("no shared data here")
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[:200]]
    for name, column in (("zh-en", 0), ("en-zh", 1)):
        differ = ids_differ(visit, translators[name], [row[column] for row in rows])
        assert_only_rounding_differs(differ, len(rows))


def test_the_interface_of_browsers(visit: Visit, translators: dict[str, Translator]) -> None:
    """The W3C's Translator: names, states and errors."""
    result = visit.page.evaluate(
        """async () => {
          const { Translator } = await import("./tfm.js");
          const languages = { sourceLanguage: "en-US", targetLanguage: "zh" };
          const none = { sourceLanguage: "fr", targetLanguage: "zh" };
          const nameOf = (promise) => promise.then(() => "", (error) => error.name);
          const found = { before: await Translator.availability(languages), progress: [] };
          found.none = await Translator.availability(none);
          found.refused = await nameOf(Translator.create(none));
          const monitor = (events) =>
            events.addEventListener("downloadprogress", (e) => found.progress.push(e.loaded));
          const translator = await Translator.create({ ...languages, monitor });
          found.after = await Translator.availability(languages);
          found.text = await translator.translate("Hello. Thank you.\\n\\n- I love you.\\n");
          found.parts = [];
          const stream = translator.translateStreaming("Hello. Thank you.\\n");
          for await (const part of stream) found.parts.push(part);
          found.usage = await translator.measureInputUsage("Hello.");
          found.quota = translator.inputQuota;
          found.languages = [translator.sourceLanguage, translator.targetLanguage];
          const stopped = new AbortController();
          const running = nameOf(translator.translate("Hello. ".repeat(50), stopped));
          stopped.abort();
          found.aborted = await running;
          const pending = nameOf(translator.translate("Hello. ".repeat(50)));
          translator.destroy();
          found.destroyed = [await pending, await nameOf(translator.translate("Hello."))];
          return found;
        }"""
    )
    translator = translators["en-zh"]
    hello, thanks, love = (
        translator.translate(text).text for text in ("Hello.", "Thank you.", "I love you.")
    )
    assert (result["before"], result["none"], result["after"]) == (
        "downloadable",
        "unavailable",
        "available",
    )
    assert result["refused"] == "NotSupportedError"
    assert result["progress"] == sorted(result["progress"])
    assert result["progress"][-1] == 1
    assert result["text"] == f"{hello}{thanks}\n\n- {love}\n"
    assert result["parts"] == [hello, thanks, "\n"]
    assert result["usage"] == translator.source_length("Hello.")
    assert result["quota"] == float("inf")
    assert result["languages"] == ["en-US", "zh"]
    assert result["aborted"] == "AbortError"
    assert result["destroyed"] == ["AbortError", "AbortError"]


def test_downloads_are_as_small_as_promised(site: Path) -> None:
    manifest = json.loads((site / "models.json").read_text("utf-8"))
    for model in manifest["models"]:
        assert sum(entry["bytes"] for entry in model["files"].values()) < 12.5e6

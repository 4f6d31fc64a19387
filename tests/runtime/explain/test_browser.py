"""The page in a real browser: Chromium by way of Playwright, where both are installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import chromium
from helpers.numerals import chinese

from tfm.runtime import Translator
from tfm.runtime.explain import Explanation, explain, write_explanation

pytestmark = pytest.mark.slow

HOSTILE = chinese(3052) + "</script><b>&amp;😀"
SIZES = {"desk": (1200, 900), "phone": (390, 800)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def explanation(tiny_folder: Path) -> Explanation:
    translator = Translator(tiny_folder, variant="fp32", intra_threads=1)
    return explain(translator, HOSTILE, beam_size=3, max_length=16)


@pytest.fixture
def page(
    request: pytest.FixtureRequest, browser: Any, explanation: Explanation, tmp_path: Path
) -> Iterator[Any]:
    """The page, of which nothing may fail or be loaded."""
    scheme, size = request.param
    write_explanation(explanation, tmp_path / "page.html")
    width, height = SIZES[size]
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, has_touch=size == "phone"
    )
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    requested: list[str] = []
    opened.on("request", lambda made: requested.append(made.url))
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    assert wrong == []
    assert requested == [(tmp_path / "page.html").as_uri()]
    context.close()


every = pytest.mark.parametrize(
    "page",
    [(scheme, size) for scheme in ("light", "dark") for size in SIZES],
    indirect=True,
    ids=lambda value: "-".join(value),
)
once = pytest.mark.parametrize("page", [("light", "desk")], indirect=True, ids=["light-desk"])


@every
def test_everything_is_there_and_fits(page: Any, explanation: Explanation) -> None:
    assert page.text_content("#source-text") == HOSTILE
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert explanation.tree is not None
    assert page.locator("button.node").count() == sum(map(len, explanation.tree.steps))
    assert page.locator("button.node.won").count() == len(explanation.path)
    assert page.locator("#sure button").count() == len(explanation.target_tokens)
    layers, heads = explanation.attention.cross.shape[:2]
    assert page.locator("#thumbnails button").count() == layers * heads
    card, ink = (
        page.evaluate(f"getComputedStyle(document.querySelector('.card')).{name}")
        for name in ("backgroundColor", "color")
    )
    assert card != ink


@every
def test_a_token_says_what_it_looks_at(page: Any, explanation: Explanation) -> None:
    page.locator("#attention-controls button", has_text="2").first.click()  # layer 2, all heads
    weights = explanation.attention.cross[1].mean(axis=0)
    page.locator(".links .left .token").nth(1).hover()
    said = page.text_content("#attention-reading")
    best = int(weights[1].argmax())
    name = explanation.source_tokens[best].replace("</s>", "⟨end⟩")
    percent = 100 * float(weights[1, best])
    assert f"the decoder looks at {name} " in said
    assert f"{percent:.0f}\u00a0%" in said or f"{percent:.1f}\u00a0%" in said
    assert page.locator(".links path").count() == (weights[1] >= 0.01).sum()


@once
def test_the_keyboard_reaches_everything(page: Any, explanation: Explanation) -> None:
    page.locator("#sure button").nth(2).focus()
    assert "log-probability" in page.text_content("#sure-reading")
    page.locator("#map canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.text_content("#attention-reading").endswith("of its attention")
    page.locator("button.node.won").last.focus()
    assert "wins: it is finished" in page.text_content("#beam-reading")
    page.keyboard.press("ArrowLeft")
    assert "goes on" in page.text_content("#beam-reading")


@once
def test_every_kind_and_head_can_be_chosen(page: Any, explanation: Explanation) -> None:
    for kind, size in (("source → source", 4), ("target → target", 8), ("target → source", 8)):
        page.locator("#attention-controls button", has_text=kind).click()
        assert page.locator("#thumbnails button").count() == size
        page.locator("#thumbnails button").last.click()
        pressed = page.locator("#attention-controls button[aria-pressed=true]").all_text_contents()
        assert pressed == [kind, str(size // 4), "4"]
        page.locator("#map canvas").hover(position={"x": 70, "y": 70})


@once
def test_colors_follow_the_mode_at_once(page: Any) -> None:
    drawn = "document.querySelector('#waves canvas').toDataURL()"
    before = page.evaluate(drawn)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"before => {drawn} !== before", arg=before, timeout=5000)

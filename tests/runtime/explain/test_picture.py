"""The picture is written whatever the text is."""

import logging
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.numerals import chinese
from matplotlib.axes import Axes

from tfm.runtime import Translator
from tfm.runtime.explain import explain, fonts, write_explanation


@pytest.fixture(scope="module")
def translator(tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant="fp32", intra_threads=1)


def size_of(image: Path) -> tuple[int, int]:
    data = image.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_every_panel_is_drawn(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    text = Axes.text

    def noted(self: Axes, x: float, y: float, s: str, **how: object) -> object:
        written.append(s)
        return text(self, x, y, s, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "text", noted)
    explanation = explain(translator, "三 $\\frac$", "one $\\frac$", max_length=12)
    write_explanation(explanation, tmp_path / "page.png")
    width, height = size_of(tmp_path / "page.png")
    assert width == 1560 and height > 1000
    for heading in ("All layers and heads", "How sure the model was", "The search, as a tree"):
        assert heading in written
    assert explanation.tree is not None
    assert [s for s in written if s.startswith("step ")] == [
        f"step {number + 1}" for number in range(len(explanation.tree.steps))
    ]
    assert {"⟨end⟩", "Where a token stands"} <= set(written)


def test_a_drawn_translation_has_no_tree(translator: Translator, tmp_path: Path) -> None:
    explanation = explain(translator, chinese(12), temperature=1.0, max_length=5)
    write_explanation(explanation, tmp_path / "page.PNG")
    size_of(tmp_path / "page.PNG")


def test_a_model_without_self_attention_in_the_decoder(
    translator: Translator, tmp_path: Path
) -> None:
    """As with SSRU: `Attention.decoder` has no layers."""
    explanation = explain(translator, chinese(12), max_length=6)
    attention = explanation.attention
    recurrent = replace(attention, decoder=attention.decoder[:0])
    explanation = replace(explanation, attention=recurrent)
    write_explanation(explanation, tmp_path / "page.png")
    size_of(tmp_path / "page.png")
    assert explanation.to_json()["attention"]["decoder"] == []


def test_characters_without_a_font(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    latin = next(font for font in fonts._candidates() if font[0] == "DejaVu Sans")
    monkeypatch.setattr(fonts, "_candidates", lambda: iter([latin]))
    with caplog.at_level(logging.WARNING):
        assert fonts.Fonts(["one", "ünd"]).families == ["DejaVu Sans"]
        assert not caplog.records
        chosen = fonts.Fonts(["one 我", "ünd"])
    assert chosen.families == ["DejaVu Sans"]
    assert chosen.drawable("a我b\nü") == "a□b□ü"
    (record,) = caplog.records
    assert "no font of this system has 我: the picture shows □ there" in record.getMessage()


def test_other_fonts_fill_what_the_first_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    every = {"DejaVu Sans": set(b"on e"), "Useless": set(b"o"), "Second": set(b"xyz"), "Third": {1}}
    monkeypatch.setattr(fonts, "_candidates", lambda: iter([(name, name) for name in every]))
    monkeypatch.setattr(fonts, "_characters", every.__getitem__)
    assert fonts.Fonts(["one", "x e"]).families == ["DejaVu Sans", "Second"]

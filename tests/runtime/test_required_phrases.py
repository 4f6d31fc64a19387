"""Terms and placeholders in translations, from text to text."""

import re
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime import PlaceholderPatterns, Terms, Translator
from tfm.runtime.pair_scorer import PairScorer
from tfm.runtime.placeholders import COPIED
from tfm.runtime.required_phrases import required_phrases
from tfm.runtime.terms import contains_phrase
from tfm.runtime.token_translator import TokenTranslator

SENTENCES = ["three two one", "", "four hundred", "one {x} https://a.cn/b", "two"]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def translator(request: pytest.FixtureRequest, tiny_folder: Path) -> Translator:
    return Translator(tiny_folder, variant=request.param, intra_threads=1)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_terms_are_in_the_translations(translator: Translator, beam_size: int) -> None:
    """All of them, also several; sentences without any are translated as ever."""
    terms = {"three": "twenty seven", "one": "ninety", "two": "sixty"}
    usual = dict(beam_size=beam_size, max_length=30)
    plain = translator.translate_batch(SENTENCES, **usual)
    found = translator.translate_batch(SENTENCES, terms=terms, **usual)
    for sentence, translation, before in zip(SENTENCES, found, plain, strict=True):
        wanted = [target for source, target in terms.items() if source in sentence.split()]
        assert translation.unmet == ()
        assert all(contains_phrase(translation.text, phrase) for phrase in wanted)
        if not wanted:
            assert translation.text == before.text


def test_a_translation_that_has_its_terms_is_left_alone(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search with phrases is for those that lack one."""
    plain = translator.translate("two", max_length=6)
    word = re.findall(r"\w+", plain.text)[0]
    monkeypatch.delattr(TokenTranslator, "translate_with_phrases")
    assert translator.translate("two", terms={"two": word}, max_length=6) == plain


def test_what_cannot_be_met_is_said(translator: Translator) -> None:
    """A phrase that is longer than allowed, here; the translation comes all the same."""
    terms = Terms({"two": "one two three four five"})
    translation = translator.translate("two", terms=terms, max_length=3)
    assert translation.unmet == ("one two three four five",)
    assert translation.text
    assert translator.translate("four", terms=terms, max_length=3).unmet == ()


def test_placeholders_come_out_as_they_went_in(translator: Translator) -> None:
    """A model that never saw any, all hypotheses, and none is invented."""
    patterns = PlaceholderPatterns()
    sentences = [*SENTENCES, "<b>one</b> 77 😀 a@b.cd %s", "{a}{b}{a}", "{x}"]
    found = translator.translate_batch(
        sentences, placeholders=patterns, num_hypotheses=2, max_length=40
    )
    for sentence, translation in zip(sentences, found, strict=True):
        assert translation.unmet == ()
        for hypothesis in translation.hypotheses:
            assert patterns.are_kept(sentence, hypothesis.text), (sentence, hypothesis.text)


def test_what_has_no_translation_is_kept_unless_a_caller_says_otherwise(
    translator: Translator,
) -> None:
    sentence = "one https://a.cn/x two a@b.cd {x} 😀"
    kept = translator.translate(sentence, max_length=40)
    assert COPIED.are_kept(sentence, kept.text) and kept.unmet == ()
    plain = translator.translate(sentence, max_length=40, placeholders=None)
    assert not COPIED.are_kept(sentence, plain.text) and plain.unmet == ()
    assert translator.translate("one two") == translator.translate("one two", placeholders=None)


def test_a_prefix_and_terms_may_have_placeholders_of_their_own(translator: Translator) -> None:
    """Which the source has not; putting back what was lost leaves them alone."""
    for prefix in ("{x}:", "<b>", "https://example.org"):
        found = translator.translate("one 😀", target_prefix=prefix, max_length=20)
        assert found.text.startswith(prefix) and COPIED.lacking("one 😀", found.text) == []
    phrase = "{city} sixty"
    found = translator.translate("two", terms={"two": phrase}, max_length=30)
    assert contains_phrase(found.text, phrase) and found.unmet == ()


def test_a_model_that_cannot_align_searches_and_says_what_it_lacks(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of an older tfm, without score.onnx."""
    monkeypatch.setattr(PairScorer, "can_align", False)
    with Translator(tiny_folder, device="cpu") as translator:
        found = translator.translate("one {x}", max_length=1)
        assert found.unmet == ("{x}",)


def test_both_with_doubts_and_alignment(translator: Translator) -> None:
    """What is said of a translation is said of the text that comes out."""
    (found,) = translator.translate_batch(
        ["one {x} two"],
        terms={"two": "sixty"},
        placeholders=PlaceholderPatterns(["braces"]),
        with_alignment=True,
        with_doubts=True,
        max_length=20,
    )
    assert found.alignment is not None
    assert (found.alignment.target, found.unmet) == (found.text, ())
    assert contains_phrase(found.text, "sixty") and "{x}" in found.text
    assert found.doubts


def test_a_search_that_is_cut_off_says_what_it_lacks(translator: Translator) -> None:
    (found,) = translator.translate_batch(
        ["two"], terms={"two": "sixty four"}, timeout=1e-9, max_length=30
    )
    assert found.hypotheses[0].timed_out and found.unmet == ("sixty four",)


def test_sampling_draws_no_terms(translator: Translator) -> None:
    with pytest.raises(ValueError, match="terms are searched for, not drawn at random"):
        translator.translate("two", terms={"two": "one"}, temperature=1.0)
    drawn = translator.translate(
        "two {x}", placeholders=PlaceholderPatterns(), temperature=1.0, max_length=9
    )
    assert "{x}" in drawn.text and drawn.unmet == ()


def test_nothing_asked_for_is_nothing_required() -> None:
    assert required_phrases(None, None) is required_phrases({}, None) is None
    with pytest.raises(ValueError, match="both sides must be text"):
        required_phrases({"a": ""}, None)


def test_the_command(tiny_folder: Path, tmp_path: Path) -> None:
    glossary = tmp_path / "terms.tsv"
    glossary.write_text("two\tone two three four five\nthree\tsixty\n", "utf-8")
    model = "-m", str(tiny_folder), "--max-length", "4"
    status, stdout, stderr = tfm(
        "run", "--terms", str(glossary), "--placeholders", "all", *model, "three", "two {x}"
    )
    first, second = stdout.splitlines()
    assert status == 0
    assert contains_phrase(first, "sixty") and "{x}" in second
    assert stderr.splitlines()[-1] == "line 2: not in the translation: one two three four five"
    status, stdout, _ = tfm("run", *model, "--placeholder-pattern", r"ID-\d", "one ID-7")
    assert status == 0 and "ID-7" in stdout
    _, kept, _ = tfm("run", *model, "one 😀")
    _, lost, _ = tfm("run", *model, "--placeholders", "none", "one 😀")
    assert "😀" in kept and "😀" not in lost


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--terms", "{folder}/no-tab.tsv"), 1, "no-tab.tsv, line 1: 'two' is no term"),
        (("--terms", "{folder}/none.tsv"), 2, "does not exist"),
        (("--placeholders", "urls,nope"), 2, "there are no placeholders 'nope'"),
        (("--placeholders", ""), 2, "there are no placeholders ''"),
        (("--placeholders", "none,urls"), 2, "--placeholders is 'none,urls': 'none' stands alone"),
        (("--placeholders", "urls, all"), 2, "--placeholders is 'urls, all': 'all' stands alone"),
        (("--placeholder-pattern", "("), 2, "the pattern '(' cannot be used"),
        (("--terms", "{folder}/terms.tsv", "--temperature", "1"), 2, "--terms are searched for"),
    ],
)
def test_mistakes_on_the_command_line(
    tiny_folder: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    (tmp_path / "no-tab.tsv").write_text("two\n", "utf-8")
    (tmp_path / "terms.tsv").write_text("two\tone\n", "utf-8")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    found, stdout, stderr = tfm("run", "-m", str(tiny_folder), *given, "two")
    assert (found, stdout) == (status, "")
    assert message in stderr

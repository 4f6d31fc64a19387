"""Text in, translations out: order, batches, padding, options, damaged folders, any text."""

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from helpers.numerals import chinese, english
from helpers.paths import ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tfm.runtime.token_translator as translator_module
from tfm.runtime import DecodingOptions, ModelError, Translation, Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.commands import run
from tfm.runtime.commands.cli import cli
from tfm.runtime.config import FileEntry, ModelConfig, VariantFiles

if TYPE_CHECKING:
    from helpers.models import Toy

EVERYDAY = [
    "我爱你。",
    "今天天气很好。",
    "你叫什么名字？",
    "我想喝一杯茶。",
    "好",
    "他昨天在图书馆里看了一本关于中国历史的书。",
    "如果明天不下雨，我们就和孩子们一起去公园里放风筝，然后回家吃晚饭。",
]


@pytest.fixture(scope="module", params=["toy", "bundled"])
def folder_and_text(request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    """A model folder and sentences of mixed lengths that belong to it."""
    if request.param == "toy":
        toy: Toy = request.getfixturevalue("toy")
        numbers = [*toy.unseen[:60], 9, 20, 300, 7777]
        return request.getfixturevalue("toy_model"), [chinese(n) for n in numbers]
    try:
        return bundled_model(), EVERYDAY
    except ModelError as error:
        pytest.skip(str(error))


def test_english_to_chinese() -> None:
    """The model folder of the checkout, which the wheel does not carry."""
    translator = Translator(ROOT / "models" / "en-zh", device="cpu")
    found = translator.translate_batch(["I love you.", "", "What is your name?"])
    assert [translation.text for translation in found] == ["我爱你。", "", "你叫什么名字？"]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def case(
    request: pytest.FixtureRequest, folder_and_text: tuple[Path, list[str]]
) -> tuple[Translator, list[str], bool]:
    """A translator, its sentences, and whether it is exact."""
    folder, sentences = folder_and_text
    if request.param not in ModelConfig.load(folder).variants:
        pytest.skip(f"{folder} has no {request.param}")
    translator = Translator(folder, device="cpu", variant=request.param)
    return translator, sentences, request.param == "fp32"


@pytest.fixture(scope="module")
def translator(toy_model: Path) -> Translator:
    return Translator(toy_model, device="cpu", variant="int8")


def check_same(found: list[Translation], expected: list[Translation], exact: bool) -> None:
    assert [t.source for t in found] == [t.source for t in expected]
    for one, other in zip(found, expected, strict=True):
        assert [h.tokens for h in one.hypotheses] == [h.tokens for h in other.hypotheses]
        assert [h.text for h in one.hypotheses] == [h.text for h in other.hypotheses]
        scores = [h.score for h in other.hypotheses]
        assert [h.score for h in one.hypotheses] == pytest.approx(
            scores, abs=1e-4 if exact else 1e-2
        )


@pytest.mark.parametrize("beam_size", [1, 4])
def test_alone_in_a_batch_and_padded(
    case: tuple[Translator, list[str], bool], beam_size: int
) -> None:
    translator, sentences, exact = case
    # The search may not stop on a whim of length: that has its own tests.
    alone = [translator.translate(s, beam_size=beam_size, max_length=60) for s in sentences]

    def together(texts: list[str], **options: int) -> list[Translation]:
        return translator.translate_batch(texts, beam_size=beam_size, max_length=60, **options)

    check_same(together(sentences), alone, exact)
    check_same(together(sentences[::-1])[::-1], alone, exact)
    check_same(together(sentences, max_batch_tokens=40), alone, exact)
    # Everything in one batch behind a sentence that pads all others.
    long = "".join(sentences)[:150]
    check_same(together([long, *sentences], max_batch_tokens=10**6)[1:], alone, exact)


def test_the_toy_is_not_trivial(case: tuple[Translator, list[str], bool]) -> None:
    translator, sentences, _ = case
    found = translator.translate_batch(sentences)
    assert len({len(t.hypotheses[0].tokens) for t in found}) >= 3
    assert len({t.text for t in found}) == len(set(sentences))


def test_order_is_restored_and_blank_lines_stay(translator: Translator) -> None:
    numbers = [5678, 4321, 9000, 3052, 1111]
    sentences = ["", *map(chinese, numbers), " \t", "\u3000"]
    found = translator.translate_batch(sentences, beam_size=1)
    assert [t.source for t in found] == sentences
    assert [t.text for t in found] == ["", *map(english, numbers), "", ""]
    for blank in (found[0], *found[-2:]):
        assert [(h.text, h.score, h.tokens) for h in blank.hypotheses] == [("", 0.0, ())]
    assert translator.translate_batch([]) == []


def test_num_hypotheses(translator: Translator) -> None:
    (found,) = translator.translate_batch(["三千零五"], beam_size=5, num_hypotheses=3)
    assert len(found.hypotheses) == 3
    assert found.text == found.hypotheses[0].text
    assert len({h.tokens for h in found.hypotheses}) == 3
    scores = [h.score for h in found.hypotheses]
    assert scores == sorted(scores, reverse=True)
    (fewer,) = translator.translate_batch(["三千零五"], beam_size=5)
    assert fewer.hypotheses == found.hypotheses[:1]


def test_max_length(translator: Translator) -> None:
    whole = translator.translate(chinese(7777), beam_size=1).hypotheses[0].tokens
    cut = translator.translate(chinese(7777), beam_size=1, max_length=3).hypotheses[0].tokens
    assert len(whole) > 3
    assert cut == whole[:3]


def test_a_source_beyond_the_limit_is_cut(
    translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    limit = translator.config.max_source_length
    found = translator.translate_batch(["三千" * limit, "三千"], beam_size=1, max_length=8)
    assert found[1].text == "three thousand"
    assert f"1 of 2 sentences cut to {limit} tokens" in caplog.text


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: t.translate("一", beam_size=0), "beam_size is 0"),
        (lambda t: t.translate("一", beam_size=2, num_hypotheses=3), "raise beam_size"),
        (lambda t: t.translate("一", num_hypotheses=0), "num_hypotheses is 0"),
        (lambda t: t.translate("一", max_length=0), "max_length is 0"),
        (lambda t: t.translate("一", length_penalty=-0.5), "length_penalty is -0.5"),
        (lambda t: t.translate("一", DecodingOptions(beam_size=2), num_hypotheses=0), "is 0"),
        (lambda t: t.translate("一", suppress_ids=(10**6,)), "suppress_ids has 1000000"),
        (lambda t: t.translate("一", target_language="xx"), "target_language is 'xx'"),
        (lambda t: t.translate_batch("一二"), "give a list"),
        (lambda t: t.translate_batch(["一"], max_batch_tokens=0), "max_batch_tokens is 0"),
        (lambda t: t.translate_ids([[4], []]), "source 1 has no ids"),
        (lambda t: Translator(t.folder, device="tpu"), "device is 'tpu'"),
        (lambda t: Translator(t.folder, intra_threads=-1), "intra_threads is -1"),
    ],
)
def test_arguments_out_of_range(
    translator: Translator, call: Callable[[Translator], object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        call(translator)


def test_options_are_the_models_own_those_given_or_changes_of_either(
    translator: Translator,
) -> None:
    sentence = chinese(7777)
    wide = DecodingOptions(beam_size=5, num_hypotheses=5)
    assert translator.options == translator.config.decoding
    assert len(translator.translate(sentence).hypotheses) == 1
    assert len(translator.translate(sentence, wide).hypotheses) == 5
    assert len(translator.translate(sentence, wide, num_hypotheses=2).hypotheses) == 2
    assert len(translator.translate(sentence, num_hypotheses=6).hypotheses) == 6
    with pytest.raises(TypeError, match="no decoding option 'beams'"):
        translator.translate(sentence, beams=3)


OPTIONS = [
    {"min_length": 9},
    {"patience": 2.0, "num_hypotheses": 4},
    {"target_prefix": "three"},
    {"suppress_ids": (5, 6, 7, 8)},
    {"repetition_penalty": 1.7},
    {"no_repeat_ngram_size": 1},
]


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_both_routes_translate_alike(
    toy_model: Path, beam_size: int, changes: dict[str, Any]
) -> None:
    sentences = [chinese(n) for n in (7777, 3052, 40, 9)] + [""]
    options = DecodingOptions(max_length=30).changed(beam_size=max(beam_size, 1))
    if beam_size == 1:
        changes = {name: value for name, value in changes.items() if name != "num_hypotheses"}
    results = [
        Translator(toy_model, device="cpu", variant="fp32", by_steps=by_steps).translate_batch(
            sentences, options, **changes
        )
        for by_steps in (False, True)
    ]
    check_same(*results, exact=True)


def test_a_target_prefix_begins_the_text(translator: Translator) -> None:
    for beam_size in (1, 4):
        (with_prefix, blank) = translator.translate_batch(
            [chinese(7777), " "], target_prefix="six thousand", beam_size=beam_size
        )
        assert with_prefix.text.startswith("six thousand ")
        assert with_prefix.text != translator.translate(chinese(7777)).text
        assert blank.text == ""


def test_the_route_is_logged_when_it_changes(
    toy_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    translator = Translator(toy_model, device="cpu")
    with caplog.at_level("INFO", logger="tfm.runtime"):
        translator.translate("一")
        translator.translate("一")
        translator.translate("一", no_repeat_ngram_size=2)
    assert [record.getMessage() for record in caplog.records] == [
        "translate.onnx runs the whole search",
        "step by step: translate.onnx does not support no_repeat_ngram_size",
    ]


@pytest.fixture
def copy(toy_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_model, tmp_path / "copy"))


PARTS = ["int8/translate.onnx", "int8/weights.bin", "source.spm", "target.spm"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damaged_files(copy: Path, part: str, damage: str) -> None:
    file = copy / part
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(ModelError, match=re.escape(str(file))) as raised:
        Translator(copy, device="cpu")
    assert "\n" not in str(raised.value)
    if part.startswith("int8"):
        Translator(copy, device="cpu", variant="fp32")  # the other variant is whole


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("rest", [0, 0.5])
def test_broken_files_that_config_vouches_for(copy: Path, part: str, rest: float) -> None:
    """Written wrong in the first place: size and sha256 agree, and still nothing loads."""
    file = copy / part
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * rest)])
    config = ModelConfig.load(copy)
    paths = config.variants["int8"]
    entries = {
        field.name: FileEntry.of(copy, getattr(paths, field.name).path)
        for field in dataclasses.fields(VariantFiles)
    }
    tokenizer = dataclasses.replace(
        config.tokenizer,
        source=FileEntry.of(copy, "source.spm"),
        target=FileEntry.of(copy, "target.spm"),
    )
    variants = {**config.variants, "int8": VariantFiles(**entries)}
    dataclasses.replace(config, tokenizer=tokenizer, variants=variants).save(copy)
    with pytest.raises(ModelError) as raised:
        Translator(copy, device="cpu", variant="int8")
    assert "\n" not in str(raised.value)


any_text = st.text(st.characters(codec="utf-8"), max_size=30)
odd_text = st.text(
    st.sampled_from("\0\t\r\v\f\x1c\x85\u2028\u2029\u200b\ufeff \u3000▁一千🀄é\u0301<s>/"),
    max_size=20,
)
fast = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fast
@given(sentences=st.lists(st.one_of(any_text, odd_text), max_size=6))
@example(sentences=["\0", "<s></s><pad>", "▁", "\u200b"])
def test_any_text_translates(translator: Translator, sentences: list[str]) -> None:
    found = translator.translate_batch(sentences, beam_size=2, max_length=6)
    assert [t.source for t in found] == sentences
    for translation in found:
        assert len(translation.hypotheses) == 1
        translation.text.encode("utf-8")


@pytest.fixture
def opened(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`tfm run` with a model that is loaded already."""
    monkeypatch.setattr(run, "_open_translator", lambda *_arguments: translator)
    yield


@fast
@given(lines=st.lists(st.one_of(any_text, odd_text).map(lambda t: t.replace("\n", "")), max_size=6))
@pytest.mark.usefixtures("opened")
def test_any_text_through_the_command_keeps_its_line(lines: list[str]) -> None:
    stdin = "".join(f"{line}\n" for line in lines).encode()
    arguments = ["run", "--beam-size", "1", "--max-length", "6"]
    result = CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stderr_bytes == b""
    output = result.stdout_bytes.decode("utf-8")
    assert output.count("\n") == len(lines)
    assert len(output.splitlines()) == len(lines)


@fast
@given(stdin=st.binary(max_size=40))
@pytest.mark.usefixtures("opened")
def test_any_bytes_give_lines_or_one_line_of_error(stdin: bytes) -> None:
    arguments = ["run", "--beam-size", "1", "--max-length", "6"]
    result = CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)
    try:
        stdin.decode("utf-8")
    except UnicodeDecodeError:
        assert result.exit_code == 1
        assert re.fullmatch(r"Error: .*line \d+ is not UTF-8 .*\n", result.stderr)
    else:
        lines = stdin.count(b"\n") + (stdin[-1:] not in (b"", b"\n"))
        assert (result.exit_code, result.stdout_bytes.count(b"\n")) == (0, lines)


def test_a_process_of_its_own(toy_model: Path) -> None:
    lines = [chinese(3052), "", "🀄\0\u2028 x", chinese(1234)]
    done = subprocess.run(
        [sys.executable, "-m", "tfm.runtime", "run", "-m", str(toy_model), "--beam-size", "1"],
        input="\n".join(lines).encode(),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    output = done.stdout.decode("utf-8").split("\n")
    assert len(output) == len(lines) + 1
    assert (output[0], output[1], output[3]) == (english(3052), "", english(1234))


def test_a_call_like_the_one_before_it_chooses_nothing_anew(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At batch size 1 that took as long as some steps; and other options are not mistaken."""
    translator = Translator(tiny_folder, device="cpu", variant="fp32")
    sources = [[5, 6, 7, translator.config.special_ids.eos_id]]
    lengths = [1, 9, 9, 2]
    options = {n: DecodingOptions(beam_size=2, max_length=n) for n in lengths}
    fresh = {n: Translator(tiny_folder, device="cpu", variant="fp32") for n in lengths}
    expected = [fresh[n].translate_ids(sources, options[n]) for n in lengths]

    routed: list[DecodingOptions] = []
    choose = translator_module.choose_route

    def counted(options: DecodingOptions, *arguments: Any, **keywords: Any) -> Any:
        routed.append(options)
        return choose(options, *arguments, **keywords)

    monkeypatch.setattr(translator_module, "choose_route", counted)
    found = [translator.translate_ids(sources, options[n]) for n in lengths]
    assert found == expected
    assert routed == [options[n] for n in (1, 9, 2)]
    feeds = translator.sessions._option_feeds("translate", options[2])
    assert (
        translator.sessions._option_feeds("translate", DecodingOptions(beam_size=2, max_length=2))
        is feeds
    )


def test_a_process_that_only_searches_greedily_holds_one_graph(tiny_folder: Path) -> None:
    with Translator(tiny_folder, device="cpu", variant="int8", intra_threads=1) as translator:
        held = translator.sessions._graphs.keys()
        assert set(held) == {"translate"}
        expected = translator.translate_ids([[5, 6, 3]], beam_size=1)
        assert set(held) == {"greedy"}
        translator.translate_ids([[5, 6, 3]], beam_size=2)
        assert translator.translate_ids([[5, 6, 3]], beam_size=1) == expected
        assert set(held) == {"greedy", "translate"}

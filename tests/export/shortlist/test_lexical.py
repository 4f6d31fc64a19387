"""Lexical shortlists in model folders, against PyTorch with logits masked to sentences' lists."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from helpers.command import tfm
from helpers.lexical import allowed, masked_search, random_shortlist
from helpers.models import NoVocabulary
from onnx import GraphProto

from tfm.export.formats.read_model_folder import unpack
from tfm.export.graphs.passes import bodies_of
from tfm.export.graphs.trace import Graphs
from tfm.export.model_folder import write_model_folder
from tfm.export.quantization.calibrate import random_sources
from tfm.export.shortlist.prepared import LexicalShortlist
from tfm.runtime import Translator
from tfm.runtime.config import ModelConfig
from tfm.runtime.errors import ModelError
from tfm.runtime.options import DecodingOptions
from tfm.runtime.sessions import Sessions
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer

VARIANTS = ("fp32", "int8")
SEARCHES = [(1, "greedy"), (1, "translate"), (3, "translate")]


class Listed(NamedTuple):
    """A model, its lists, and the folder that has both."""

    model: Transformer
    lexical: LexicalShortlist
    folder: Path


def write(
    model: Transformer,
    graphs: Graphs,
    vocabulary: Vocabulary,
    folder: Path,
    variants: Sequence[str] = ("fp32",),
) -> Listed:
    lexical = LexicalShortlist(graphs, random_shortlist(model.config), model.config)
    write_model_folder(model, vocabulary, graphs, folder, variants, "listed", shortlist=lexical)
    return Listed(model, lexical, folder)


@pytest.fixture(scope="module")
def listed(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Listed:
    folder = tmp_path_factory.mktemp("listed")
    return write(tiny_model, tiny_graphs, tiny_vocabulary, folder, VARIANTS)


def sentences(model: Transformer) -> list[list[int]]:
    config = model.config
    return [
        [*ids, config.eos_id] for length in (3, 11, 19) for ids in random_sources(config, 6, length)
    ]


def check_search(found_by: Listed, beam_size: int, graph: str = "translate") -> None:
    """fp32 finds what PyTorch does with masked logits, scores included."""
    options = DecodingOptions(beam_size=beam_size, max_length=12)
    sources = sentences(found_by.model)
    config = ModelConfig.load(found_by.folder)
    sessions = Sessions.open(found_by.folder, config, device="cpu", variant="fp32")
    found = sessions.translate(sources, options, graph=graph)
    expected = masked_search(found_by.model, sources, found_by.lexical.shortlist, options)
    assert [h[0].ids for h in found] == [h[0].ids for h in expected]
    np.testing.assert_allclose(
        [h[0].score for h in found], [h[0].score for h in expected], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("beam_size", "graph"), SEARCHES)
def test_translations_are_those_of_masked_logits(
    listed: Listed, beam_size: int, graph: str
) -> None:
    check_search(listed, beam_size, graph)


def test_with_ssru(ssru_model: Transformer, ssru_graphs: Graphs, tmp_path: Path) -> None:
    folder = write(ssru_model, ssru_graphs, NoVocabulary(), tmp_path)
    for beam_size, graph in SEARCHES:
        check_search(folder, beam_size, graph)


def test_an_output_layer_of_its_own_and_a_small_vocabulary(
    pre_model: Transformer, pre_graphs: Graphs, tmp_path: Path
) -> None:
    check_search(write(pre_model, pre_graphs, NoVocabulary(), tmp_path), 2)


def test_the_lists_change_translations(listed: Listed, tiny_folder: Path) -> None:
    """Or else the tests before show nothing."""
    sources = sentences(listed.model)
    whole, short = (
        Translator(path, device="cpu", variant="fp32").translate_ids(sources, max_length=12)
        for path in (tiny_folder, listed.folder)
    )
    assert sum(a[0].ids != b[0].ids for a, b in zip(whole, short, strict=True)) > len(sources) / 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_the_lists_are_those_without(
    listed: Listed, tiny_folder: Path, variant: str
) -> None:
    """In int8 to the bit."""
    sources = sentences(listed.model)
    rows = len(sources)
    token, origin = np.full((rows, 2), 7), np.tile([0, 1], (rows, 1))
    whole, short = (
        Translator(path, device="cpu", variant=variant)
        .sessions.encode(sources, 2)
        .step_logits(token, origin)
        for path in (tiny_folder, listed.folder)
    )
    tolerance = 1e-5 if variant == "fp32" else 0
    for row, tokens in enumerate(allowed(listed.lexical.shortlist, sources)):
        own = sorted(tokens)
        np.testing.assert_allclose(short[row][:, own], whole[row][:, own], atol=tolerance)
        assert np.isneginf(np.delete(short[row], own, axis=1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beam_size", [1, 2])
def test_graph_and_steps_are_one(
    listed: Listed, variant: str, beam_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sentences(listed.model)
    translator = Translator(listed.folder, device="cpu", variant=variant)
    options = {"max_length": 12, "beam_size": beam_size}
    by_graph = translator.translate_ids(sources, **options)
    monkeypatch.setattr(translator._tokens, "_always_by_steps", True)
    by_steps = translator.translate_ids(sources, **options)
    assert [h[0].ids for h in by_graph] == [h[0].ids for h in by_steps]
    np.testing.assert_allclose(
        [h[0].score for h in by_graph], [h[0].score for h in by_steps], rtol=1e-5
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_batch_mates_change_nothing(listed: Listed, variant: str, beam_size: int) -> None:
    translator = Translator(listed.folder, device="cpu", variant=variant)
    sources = sentences(listed.model)
    together = translator.translate_ids(sources, max_length=12, beam_size=beam_size)
    for ids, hypotheses in zip(sources[::4], together[::4], strict=True):
        (alone,) = translator.translate_ids([ids], max_length=12, beam_size=beam_size)
        assert alone[0].ids == hypotheses[0].ids
        assert alone[0].score == pytest.approx(hypotheses[0].score, rel=1e-5)


def test_rules_on_logits(listed: Listed) -> None:
    """Suppressed tokens, a least length and repeated n-grams, by the graph and by steps."""
    translator = Translator(listed.folder, device="cpu", variant="fp32")
    sources = sentences(listed.model)[::4]
    lists = allowed(listed.lexical.shortlist, sources)
    forbidden = listed.lexical.shortlist.always[1:4].tolist()
    for options in ({}, {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.4}):
        for beam_size in (1, 2):
            found = translator.translate_ids(
                sources, suppress_ids=forbidden, beam_size=beam_size, max_length=8, min_length=3,
                **options,
            )  # fmt: skip
            for hypotheses, tokens in zip(found, lists, strict=True):
                assert set(hypotheses[0].ids) <= tokens - set(forbidden)
                assert len(hypotheses[0].ids) >= 3
                assert np.isfinite(hypotheses[0].score)


def test_a_forced_prefix_needs_no_list(listed: Listed, tiny_vocabulary: Vocabulary) -> None:
    translator = Translator(listed.folder, device="cpu", variant="int8")
    (ids,) = tiny_vocabulary.encode_target(["seven thousand"], listed.model.config)
    source = tiny_vocabulary.encode_source(["七"], listed.model.config)
    assert not set(ids[1:]) <= allowed(listed.lexical.shortlist, source)[0]
    for beam_size in (1, 2):
        found = translator.translate(
            "七", target_prefix="seven thousand", beam_size=beam_size, max_length=5
        )
        assert found.hypotheses[0].text.startswith("seven thousand")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_weights_come_back(
    tiny_model: Transformer,
    tiny_vocabulary: Vocabulary,
    tiny_graphs: Graphs,
    listed: Listed,
    tmp_path: Path,
    variant: str,
) -> None:
    write_model_folder(
        tiny_model, tiny_vocabulary, tiny_graphs, tmp_path, (variant,), "m",
        shortlist=listed.lexical,
    )  # fmt: skip
    model, _ = unpack(tmp_path)
    for name, value in tiny_model.state_dict().items():
        tolerance = 1e-5 if variant == "fp32" else float(value.abs().max()) / 60
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=tolerance)


def test_config_says_so_and_the_graphs_must_agree(listed: Listed) -> None:
    config = ModelConfig.load(listed.folder)
    assert config.shortlist == "lexical"
    assert "shortlist     lexical" in tfm("info", str(listed.folder))[1]
    other = dataclasses.replace(config, shortlist="none")
    sessions = Sessions.open(listed.folder, other, device="cpu", variant="int8")
    with pytest.raises(ModelError, match="an output 'shortlist' that is not expected"):
        sessions.encode([[5, 6, 3]], 1)


@pytest.mark.parametrize("graph", ["translate", "greedy"])
def test_rows_are_gathered_once_for_many_steps(listed: Listed, graph: str) -> None:
    """No step finds the union or its rows anew: what only the batch decides is outside."""
    model = onnx.load(listed.folder / "int8" / f"{graph}.onnx", load_external_data=False)

    def bodies(part: GraphProto, depth: int) -> Iterator[tuple[int, GraphProto]]:
        yield depth, part
        for body in bodies_of(part):
            yield from bodies(body, depth + 1)

    products = {}
    for depth, body in bodies(model.graph, 0):
        for node in body.node:
            if node.op_type == "MatMulIntegerToFloat" and not node.input[1].endswith(".int8"):
                products[node.input[1]] = depth
    found = {
        output: depth
        for depth, body in bodies(model.graph, 0)
        for node in body.node
        for output in node.output
    }
    gathered = {name: found[name] for name in products if name in found}
    assert gathered
    assert all(depth < products[name] for name, depth in gathered.items())

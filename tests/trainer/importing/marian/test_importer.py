"""`tfm import model.npz` against Marian's equations in numpy, which read the same file."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import marian
from helpers.command import tfm
from helpers.marian import PRE_NORM, SETTINGS, SOURCES, SSRU, TARGETS, MarianModel

from tfm.export.decoding_defaults import decoding_defaults
from tfm.runtime.options import DecodingOptions
from tfm.trainer.checkpoint import load_checkpoint
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.importing.marian.importer import import_marian
from tfm.trainer.model import Transformer

PAIRS = list(zip(SOURCES, TARGETS, strict=True))[::60]
TOLERANCE = 1e-4
NETWORKS: dict[str, dict[str, Any]] = {
    "post-norm": {"tied-embeddings": True},
    "pre-norm": {**PRE_NORM, "transformer-ffn-activation": "relu"},
    "gelu, no output bias": {"transformer-ffn-activation": "gelu", "output-omit-bias": True},
    "joint": {"tied-embeddings-all": True},
    "joint, output of its own": {"tied-embeddings-src": True},
    "joint by two settings": {"tied-embeddings-src": True, "tied-embeddings": True},
    "narrow decoder": {"transformer-decoder-dim-ffn": 20},
    "wide decoder": {"transformer-decoder-dim-ffn": 32},
    "ssru": {**SSRU, "tied-embeddings": True},
    "pre-norm ssru, joint": {**SSRU, **PRE_NORM, "tied-embeddings-all": True},
    "tied layers": {"transformer-tied-layers": [1, 2, 1], "dec-depth": 3},
}


def log_probs_of_both(
    path: Path, settings: dict[str, Any], model: Transformer, vocabulary: Vocabulary
) -> tuple[list[Any], list[Any]]:
    """Log-probabilities of some pairs' tokens and their rivals, ours and the oracle's."""
    config, oracle = model.config, MarianModel(path, settings)
    ours, theirs = [], []
    for source, target in PAIRS:
        source_ids = vocabulary.encode_source([source], config)
        (target_ids,) = vocabulary.encode_target([target], config)
        theirs.append(oracle.log_probs(source_ids[0], target_ids[1:]))
        with torch.no_grad():
            logits = model(torch.tensor(source_ids), torch.tensor([target_ids[:-1]]))[0]
        known = logits[:, : theirs[-1].shape[1]]  # not padding, which Marian does not have
        ours.append(known.log_softmax(dim=1).numpy())
    return ours, theirs


@pytest.mark.parametrize("name", NETWORKS)
def test_log_probabilities_are_marians(name: str, tmp_path: Path) -> None:
    settings = SETTINGS | NETWORKS[name]
    joint = "joint" in name
    path = marian.write_marian(tmp_path / "theirs", joint=joint, changed=settings)
    import_marian(path.parent, tmp_path / "checkpoint")
    model, vocabulary = load_checkpoint(tmp_path / "checkpoint")
    assert (vocabulary.source is vocabulary.target) == joint
    ours, theirs = log_probs_of_both(path, settings, model, vocabulary)
    for row, expected in zip(ours, theirs, strict=True):
        assert np.abs(row - expected).max() < TOLERANCE
    assert np.ptp(theirs[0]) > 2


def test_ids_are_those_of_the_sentencepiece_models(tmp_path: Path) -> None:
    path = marian.write_marian(tmp_path / "theirs")
    import_marian(path.parent, tmp_path / "checkpoint", source_language="zh")
    model, vocabulary = load_checkpoint(tmp_path / "checkpoint")
    config = model.config
    models = (tmp_path / "theirs" / f"{side}.spm" for side in ("source", "target"))
    source, target = (Vocabulary.read(path, path).source for path in models)
    sizes = (source.vocab_size(), target.vocab_size())
    assert config.pad_id == config.bos_id == max(sizes)
    assert (config.eos_id, config.unk_id, config.source_language) == (0, 1, "zh")
    assert set(config.suppress_ids) == {1, *range(sizes[1], max(sizes) + 1)}
    for text in [*SOURCES[:20], "九九x </s> <pad>", "", " 一  二 "]:
        (found,) = vocabulary.encode_source([text], config)
        assert found == [*source.encode(text), 0]
    ids = target.encode(TARGETS[3])
    assert vocabulary.decode_target(ids) == target.decode(ids) == TARGETS[3]


def test_decoding_begins_with_a_zero_vector_and_padding_is_never_written(tmp_path: Path) -> None:
    path = marian.write_marian(tmp_path / "theirs")
    model = import_marian(path.parent, tmp_path / "checkpoint")
    config = model.config
    assert not model.target_embeddings.tokens.weight[config.bos_id].any()
    hidden = torch.randn(3, config.d_model)
    assert model.next_log_probs(hidden)[:, list(config.suppress_ids)].isneginf().all()


def test_the_command_and_greedy_search(tmp_path: Path) -> None:
    """From the command line to translations that follow from the oracle's numbers."""
    given = tmp_path / "theirs"
    path = marian.write_marian(given, seed=3)
    vocabularies = ("--vocab", str(given / "source.spm"), "--vocab", str(given / "target.spm"))
    status, _, stderr = tfm("import", str(path), *vocabularies, str(tmp_path / "checkpoint"))
    assert status == 0, stderr
    assert "imported 2+2 layers" in stderr
    model, vocabulary = load_checkpoint(tmp_path / "checkpoint")
    oracle = MarianModel(path, SETTINGS)
    for sentence, _ in PAIRS[:6]:
        source = vocabulary.encode_source([sentence], model.config)
        ids: list[int] = []
        while len(ids) < 8 and ids[-1:] != [0]:
            last = oracle.log_probs(source[0], [*ids, 0])[-1]
            last[model.config.unk_id] = -np.inf
            ids.append(int(last.argmax()))
        assert model.greedy(torch.tensor(source), 8) == [[i for i in ids if i]]


def test_a_decoder_yml_alone_and_the_options_it_brings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = marian.write_marian(tmp_path / "theirs")
    arguments = ("import", str(path.parent / "decoder.yml"), str(tmp_path / "checkpoint"))
    assert tfm(*arguments)[0] == 0
    expected = DecodingOptions(beam_size=6, length_penalty=1.0)
    assert decoding_defaults(tmp_path / "checkpoint") == expected
    assert caplog.text == ""
    kept = tmp_path / "checkpoint" / "origin" / "decoder.json"
    kept.write_text('{"beam-size": "x", "normalize": "0", "word-penalty": "0.5"}')
    assert decoding_defaults(tmp_path / "checkpoint") == DecodingOptions(length_penalty=0)
    assert "beam-size = x is not carried over" in caplog.text
    assert "word-penalty = 0.5 is not carried over" in caplog.text


def test_no_class_of_transformers_has_marians_own_positions(tmp_path: Path) -> None:
    path = marian.write_marian(tmp_path / "theirs")
    assert tfm("import", str(path.parent), str(tmp_path / "checkpoint"))[0] == 0
    arguments = (str(tmp_path / "checkpoint"), str(tmp_path / "new"), "--to", "transformers")
    status, _, stderr = tfm("convert", *arguments)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "it has the positions of Marian itself" in stderr


def test_numbered_subwords_with_sentencepiece_models(tmp_path: Path) -> None:
    """As OPUS-MT has them: one numbering of both sides' pieces, in an order of its own."""
    path = marian.write_marian(tmp_path / "theirs", joint=False)
    given = tmp_path / "opus"
    given.mkdir()
    shutil.copy(tmp_path / "theirs" / "source.spm", given)
    shutil.copy(tmp_path / "theirs" / "target.spm", given)
    spm = [Vocabulary.read(p, p).source for p in (given / "source.spm", given / "target.spm")]
    pieces = {m.id_to_piece(i): None for m in spm for i in range(2, m.vocab_size())}
    names = ["</s>", "<unk>", *sorted(pieces, reverse=True)]
    lines = [f'"{name}": {number}' for number, name in enumerate(names)]
    (given / "vocab.yml").write_text("\n".join(lines), "utf-8")
    settings = SETTINGS | {"tied-embeddings-all": True}
    path = given / "model.npz"
    marian.write_model(path, settings, marian.random_weights(settings, (len(names),) * 2))
    import_marian(path, tmp_path / "checkpoint", [given / "vocab.yml"])
    model, vocabulary = load_checkpoint(tmp_path / "checkpoint")
    for text in SOURCES[:20]:
        expected = [names.index(piece) for piece in spm[0].encode(text, out_type=str)]
        assert vocabulary.encode_source([text], model.config) == [[*expected, 0]]
    for text in TARGETS[:20]:
        (ids,) = vocabulary.encode_target([text], model.config)
        expected = [names.index(piece) for piece in spm[1].encode(text, out_type=str)]
        assert ids == [model.config.bos_id, *expected, 0]
        assert vocabulary.decode_target(ids[1:-1]) == text
    ours, theirs = log_probs_of_both(path, settings, model, vocabulary)
    assert all(np.abs(a - b).max() < TOLERANCE for a, b in zip(ours, theirs, strict=True))

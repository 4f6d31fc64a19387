"""A trained model given another vocabulary: `tfm train --init FOLDER --new-vocabulary`."""

import dataclasses
import random
from pathlib import Path
from typing import Literal

import pytest
import sentencepiece
import torch
from click.testing import CliRunner
from helpers.training import change
from sentencepiece import sentencepiece_model_pb2

from tfm.trainer.checkpoint import CheckpointFolder, load_checkpoint, weights_of
from tfm.trainer.commands.train import train as train_command
from tfm.trainer.config import load_recipe
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer
from tfm.trainer.train import train
from tfm.trainer.vocabulary_transfer import transfer_vocabulary

pytestmark = pytest.mark.usefixtures("one_thread")

Processor = sentencepiece.SentencePieceProcessor


def with_pieces(processor: Processor, pieces: list[tuple[str, float, int]]) -> Processor:
    """The processor with these pieces, as (text, score, type), in this order of ids."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(processor.serialized_model_proto())
    del proto.pieces[:]
    for text, score, kind in pieces:
        proto.pieces.add(piece=text, score=score, type=kind)
    return Processor(model_proto=proto.SerializeToString())


def pieces_of(processor: Processor) -> list[tuple[str, float, int]]:
    proto = sentencepiece_model_pb2.ModelProto.FromString(processor.serialized_model_proto())
    return [(piece.piece, piece.score, piece.type) for piece in proto.pieces]


def shuffled(processor: Processor, seed: int) -> tuple[Processor, list[int]]:
    """The same pieces with other ids, the special ones aside; the old id of every new id."""
    order = list(range(4, processor.vocab_size()))
    random.Random(seed).shuffle(order)
    order = [0, 1, 2, 3, *order]
    pieces = pieces_of(processor)
    return with_pieces(processor, [pieces[old] for old in order]), order


@pytest.mark.parametrize("tied", ["none", "target"])
def test_the_same_pieces_with_other_ids_give_the_same_logits(
    unbroken: Path, tied: Literal["none", "target"]
) -> None:
    trained, old = load_checkpoint(unbroken)
    config = dataclasses.replace(trained.config, tied_embeddings=tied)
    torch.manual_seed(5)
    model = Transformer(config).eval()
    source, source_order = shuffled(old.source, 1)
    target, target_order = shuffled(old.target, 2)
    moved = transfer_vocabulary(model, old, Vocabulary(source, target)).eval()
    assert moved.config == config
    new_source = {own: new for new, own in enumerate(source_order)}
    new_target = {own: new for new, own in enumerate(target_order)}
    ids = torch.randint(4, config.source_vocab_size, (3, 7))
    written = torch.randint(4, config.target_vocab_size, (3, 5))
    expected = model(ids, written)
    got = moved(
        ids.apply_(new_source.__getitem__),  # type: ignore[no-untyped-call]
        written.apply_(new_target.__getitem__),  # type: ignore[no-untyped-call]
    )
    torch.testing.assert_close(got, expected[:, :, target_order])


def test_a_new_piece_begins_as_the_mean_of_what_the_old_vocabulary_makes_of_it(
    unbroken: Path,
) -> None:
    model, old = load_checkpoint(unbroken)
    pieces = pieces_of(old.source)
    letters = [text for text, _, kind in pieces if kind == 1 and len(text) == 1 and text != "▁"]
    first, second = letters[:2]
    unseen = "€"  # the old vocabulary splits it into bytes
    text_of_bytes = [old.source.piece_to_id(f"<0x{byte:02X}>") for byte in unseen.encode()]
    word_start = old.source.piece_to_id("▁")
    # Pieces that no text of the old vocabulary would have: their parts are known beforehand.
    source = with_pieces(
        old.source,
        [*pieces, (first * 3 + second, -50.0, 1), (unseen, -50.0, 1), ("▁" + unseen, -50.0, 1)],
    )
    moved = transfer_vocabulary(model, old, Vocabulary(source, old.target))
    before = weights_of(model)["source_embeddings.tokens.weight"]
    after = weights_of(moved)["source_embeddings.tokens.weight"]
    assert torch.equal(after[: len(before)], before)
    run = old.source.encode(first * 3 + second, out_type=str)
    run[0] = run[0].removeprefix("▁")
    expected = [old.source.piece_to_id(piece) for piece in run if piece]
    torch.testing.assert_close(after[-3], before[expected].mean(dim=0))
    torch.testing.assert_close(after[-2], before[text_of_bytes].mean(dim=0))
    torch.testing.assert_close(after[-1], before[[word_start, *text_of_bytes]].mean(dim=0))
    for name, weight in weights_of(moved).items():  # nothing else is touched
        if name != "source_embeddings.tokens.weight":
            assert torch.equal(weight, weights_of(model)[name])


def test_it_refuses_what_it_would_lose(unbroken: Path) -> None:
    model, old = load_checkpoint(unbroken)
    with pytest.raises(TrainError, match=r"is separate .* set vocabulary.joint = false"):
        transfer_vocabulary(model, old, Vocabulary(old.source, old.source))
    languages = dataclasses.replace(
        model.config, language_token="source", language_ids={"de": 5}, target_language="de"
    )
    with pytest.raises(TrainError, match="keep its vocabulary"):
        transfer_vocabulary(Transformer(languages), old, old)


@pytest.mark.parametrize("joint", [False, True])
def test_it_refuses_two_vocabularies_of_one_table(joint: bool, unbroken: Path) -> None:
    """As imported models have them: whichever vocabulary is new, the way out is the same."""
    model, old = load_checkpoint(unbroken)
    size = model.config.source_vocab_size
    shared = dataclasses.replace(model.config, tied_embeddings="all", target_vocab_size=size)
    numbered = Vocabulary(old.source, with_pieces(old.source, pieces_of(old.source)))
    new = Vocabulary(old.source, old.source if joint else old.target)
    with pytest.raises(TrainError, match=r"one table of embeddings.*leave out --new-vocabulary"):
        transfer_vocabulary(Transformer(shared), numbered, new)


def test_padding_that_also_begins_a_target_is_still_not_written(unbroken: Path) -> None:
    """Imported Marian models have one token for both, and never write it."""
    trained, old = load_checkpoint(unbroken)
    config = dataclasses.replace(trained.config, bos_id=trained.config.pad_id, suppress_ids=(0,))
    model = Transformer(config)
    moved = transfer_vocabulary(model, old, old)
    new = moved.config
    assert new.pad_id != new.bos_id
    assert set(new.suppress_ids) == {new.pad_id, new.bos_id}
    before, after = weights_of(model), weights_of(moved)
    for name in ("source_embeddings.tokens.weight", "target_embeddings.tokens.weight"):
        for own in new.suppress_ids:
            assert torch.equal(after[name][own], before[name][config.pad_id])


def test_training_begins_with_the_model_and_the_recipes_vocabulary(
    recipe_path: Path, unbroken: Path, tmp_path: Path
) -> None:
    recipe = change(load_recipe(recipe_path), max_steps=1, learning_rate=1e-30)
    smaller = dataclasses.replace(recipe.vocabulary, size=recipe.vocabulary.size - 8)
    recipe = dataclasses.replace(recipe, vocabulary=smaller)
    train(recipe, tmp_path, resume=False, init=unbroken, new_vocabulary=True)
    (model, new), (first, old) = CheckpointFolder(tmp_path).load(), load_checkpoint(unbroken)
    assert new.source.vocab_size() == smaller.size == model.config.source_vocab_size
    assert new.digest != old.digest
    expected = weights_of(transfer_vocabulary(first, old, new))
    assert all(torch.equal(weight, expected[name]) for name, weight in weights_of(model).items())


def test_a_new_vocabulary_without_a_model_is_a_usage_error(
    recipe_path: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        train_command, [str(recipe_path), "--out", str(tmp_path / "out"), "--new-vocabulary"]
    )
    assert result.exit_code == 2
    assert "--new-vocabulary needs --init" in result.stderr

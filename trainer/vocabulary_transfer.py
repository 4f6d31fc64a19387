"""A trained model given another vocabulary: what it learned of the pieces is kept.

The rows of pieces that both vocabularies have are copied. A new piece begins as the mean of the
old pieces that its text is split into, so that the model reads and writes almost what it did
before (the "vocabulary expansion" of fine-tuning practice; compare Zoph et al. 2016, transfer
learning for low-resource translation, where only the parent's rows are kept).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import sentencepiece
import torch
from torch import Tensor

from .checkpoint import build_model, weights_of
from .data.vocabulary import Vocabulary
from .errors import TrainError
from .model import Transformer

WORD_START = "▁"
SOURCE_ROWS = "source_embeddings.tokens.weight"
TARGET_ROWS = ("target_embeddings.tokens.weight", "projection.weight", "projection.bias")


def transfer_vocabulary(model: Transformer, old: Vocabulary, new: Vocabulary) -> Transformer:
    """The model with the new vocabulary's embeddings and output layer.

    Args:
        model: with the vocabulary `old`
        old: the vocabulary that the model was trained with
        new: a vocabulary of `train_vocabulary`, joint exactly if `old` is

    Returns:
        a model of the same configuration but for the sizes of the vocabularies

    Raises:
        TrainError: one vocabulary is joint and the other is not, both sides have one table of
            embeddings and yet separate vocabularies (imported models), or the model has tokens
            that are no pieces (languages, an imported model's added tokens)
    """
    config = model.config
    if config.language_ids or config.num_extra_pieces:
        raise TrainError(
            "the model has tokens beside its vocabulary's pieces (languages or added ones), "
            "which a new vocabulary would lose: keep its vocabulary"
        )
    if config.tied_embeddings == "all" and old.source is not old.target:
        raise TrainError(
            "the model's two vocabularies share one table of embeddings, and new ones would number "
            "their pieces differently: keep its vocabulary (leave out --new-vocabulary)"
        )
    if (old.source is old.target) != (new.source is new.target):
        kind = "joint" if old.source is old.target else "separate"
        raise TrainError(
            f"the model's vocabulary is {kind} and the recipe's is not: "
            f"set vocabulary.joint = {str(kind == 'joint').lower()}"
        )
    weights = dict(weights_of(model))
    # Pairs: an imported model may begin with the padding token, so that two have one old id.
    specials = [(getattr(config, name), new_id) for name, new_id in new.special_ids.items()]
    rows = _old_rows(old.source, new.source, specials)
    weights[SOURCE_ROWS] = _means(weights[SOURCE_ROWS], rows)
    if old.target is not old.source:
        rows = _old_rows(old.target, new.target, specials)
    for name in TARGET_ROWS:
        if name in weights:
            weights[name] = _means(weights[name], rows)
    sizes_and_ids: dict[str, Any] = dict(
        source_vocab_size=new.source.vocab_size(),
        target_vocab_size=new.target.vocab_size(),
        suppress_ids=tuple(own for old_id, own in specials if old_id in config.suppress_ids),
        **new.special_ids,
    )
    return build_model(dataclasses.replace(config, **sizes_and_ids), weights)


def _old_rows(
    old: sentencepiece.SentencePieceProcessor,
    new: sentencepiece.SentencePieceProcessor,
    specials: Sequence[tuple[int, int]],
) -> list[list[int]]:
    """For each new id the old ids whose mean it begins with; `specials` are old and new id of the
    special tokens."""
    ids = {old.id_to_piece(index): index for index in range(old.vocab_size())}
    rows = []
    for index in range(new.vocab_size()):
        piece = new.id_to_piece(index)
        rows.append([ids[piece]] if piece in ids else _split(old, piece))
    for old_id, new_id in specials:
        rows[new_id] = [old_id]
    return rows


def _split(processor: sentencepiece.SentencePieceProcessor, piece: str) -> list[int]:
    """The ids that the processor splits a piece's text into; those of unknown text if none."""
    text = piece.replace(WORD_START, " ")
    pieces = processor.encode(text, out_type=str)
    if pieces and not piece.startswith(WORD_START):  # the processor puts one before every text
        first = pieces[0].removeprefix(WORD_START)
        pieces = [first, *pieces[1:]] if first else pieces[1:]
    return [processor.piece_to_id(part) for part in pieces] or [processor.unk_id()]


def _means(weight: Tensor, rows: list[list[int]]) -> Tensor:
    """[V', ...]: the mean of the named rows of weight [V, ...]."""
    return torch.stack([weight[own].mean(dim=0) for own in rows])

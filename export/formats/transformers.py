"""The trainer's weights in the layout of transformers, which need not be installed.

What was imported goes back as what it was, with its own files around the weights of now. What was
trained here becomes Marian, which is the paper's Transformer. Two things differ:

* Its positions hold all sines and then all cosines, ours alternate. The order of the D elements
  that layers hand to each other means nothing, so they are permuted everywhere at once.
* transformers gives both sides' embeddings one size: the smaller is filled up, with an infinitely
  improbable bias where that is the target's.

Shapes: D d_model, V vocabulary.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor

from tfm.export.errors import ExportError
from tfm.runtime.subwords import SubwordModel, plain_name
from tfm.trainer.checkpoint import MODEL, ORIGIN, Weights, write_weights
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.vocabulary import SOURCE_FILE, TARGET_FILE, Vocabulary
from tfm.trainer.importing.files import read_origin
from tfm.trainer.importing.weights import to_transformers
from tfm.trainer.model import Transformer

from .unsupported import refuse_recurrent

LONGEST = 512  # positions that Marian's class allows
FILLED = -1e9  # a bias; not -inf, which beam search would subtract from itself

TABLES = r"(embed_tokens|shared|lm_head)\.weight$"

# Which dimension of a weight is D, by the end of its name in transformers.
PERMUTED = {
    TABLES: 1,
    r"(q_proj|k_proj|v_proj|fc1)\.weight$": 1,
    r"(out_proj|fc2)\.(weight|bias)$": 0,
    r"layer_norm\.(weight|bias)$": 0,
}


def write_transformers(
    model: Transformer, folder: Path, vocabulary: Vocabulary | None, checkpoint: Path | None = None
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files into a new folder.

    Args:
        vocabulary: None leaves the tokenizer's files out
        checkpoint: where model is from; what it was imported from lies in it

    Raises:
        ExportError: no class of transformers computes this model
        TrainError: a file of what it was imported from is damaged
    """
    refuse_recurrent(model.config, "transformers")
    weights = to_transformers(model)
    origin = None if checkpoint is None else checkpoint / ORIGIN
    if origin is not None and (origin / "config.json").exists():
        folder.mkdir(exist_ok=True)
        for name, content in read_origin(origin).items():
            (folder / name).write_bytes(content)
    else:
        settings = marian_settings(model.config)
        weights = _as_marian(weights, model.config)
        folder.mkdir(exist_ok=True)
        _write_json(folder / "config.json", settings)
        if vocabulary is not None:
            _write_tokenizer(folder, vocabulary, model.config)
    write_weights(folder / MODEL, weights, {"format": "pt"})


def marian_settings(config: TransformerConfig) -> dict[str, Any]:
    """What config.json says of a model that was trained here.

    Raises:
        ExportError: Marian is another model
    """
    if config.norm != "post":
        raise ExportError(
            "no class of transformers computes this model: Marian's is post-norm, this one is "
            "pre-norm"
        )
    if config.first_position != config.pad_id + 1 and config.positions == "fairseq":
        raise ExportError(
            "no class of transformers computes this model: it has the positions of Marian itself, "
            "and transformers' Marian has others"
        )
    if not config.source_eos:
        raise ExportError("transformers' Marian ends every source in EOS, this model does not")
    if config.positions == "fairseq" or config.language_token != "none":
        raise ExportError("the checkpoint was imported, but its own files (origin/) are gone")
    return {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "vocab_size": _size(config),
        "decoder_vocab_size": _size(config),
        "share_encoder_decoder_embeddings": config.tied_embeddings == "all",
        "tie_word_embeddings": config.tied_embeddings != "none",
        "d_model": config.d_model,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "activation_function": config.activation,
        "dropout": config.dropout,
        "scale_embedding": config.scale_embeddings,
        "max_position_embeddings": LONGEST,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "decoder_start_token_id": config.bos_id,
        "forced_eos_token_id": None,
        "is_encoder_decoder": True,
        "max_length": LONGEST,
        "num_beams": 4,
        "bad_words_ids": [[i] for i in config.suppress_ids] or None,
    }


def _as_marian(weights: Mapping[str, Tensor], config: TransformerConfig) -> Weights:
    """Add what Marian always has, fill up, and put the D elements in its order."""
    size = _size(config)
    padded = {"final_logits_bias": torch.zeros(1, config.target_vocab_size), **weights}
    for name, tensor in padded.items():
        if re.search(TABLES, name):
            padded[name] = F.pad(tensor, (0, 0, 0, size - tensor.shape[0]))
    bias = padded["final_logits_bias"]
    padded["final_logits_bias"] = F.pad(bias, (0, size - bias.shape[1]), value=FILLED)
    if config.positions == "paper":
        dimension = torch.arange(config.d_model)
        order = torch.cat((dimension[0::2], dimension[1::2]))  # sines, then cosines
        for name, tensor in padded.items():
            for end, axis in PERMUTED.items():
                if re.search(end, name):
                    padded[name] = tensor.index_select(axis, order)
    return padded


def _size(config: TransformerConfig) -> int:
    return max(config.source_vocab_size, config.target_vocab_size)


def _write_tokenizer(folder: Path, vocabulary: Vocabulary, config: TransformerConfig) -> None:
    """MarianTokenizer's files: two SentencePiece models and the ids of their pieces."""
    vocabulary.save(folder)
    joint = vocabulary.source is vocabulary.target
    if joint:
        shutil.copyfile(folder / SOURCE_FILE, folder / TARGET_FILE)
    _write_json(folder / "vocab.json", _numbers(vocabulary.source, config.source_vocab_size))
    if not joint:
        numbers = _numbers(vocabulary.target, config.target_vocab_size)
        _write_json(folder / "target_vocab.json", numbers)
    added = SubwordModel(vocabulary.source).added_tokens
    if added:
        _write_json(folder / "added_tokens.json", added)
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": config.source_language,
        "target_lang": config.target_language,
        "separate_vocabs": not joint,
        "model_max_length": LONGEST,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _numbers(processor: sentencepiece.SentencePieceProcessor, size: int) -> dict[str, int]:
    pieces = processor.id_to_piece(list(range(size)))
    return {plain_name(piece): i for i, piece in enumerate(pieces)}


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", "utf-8")

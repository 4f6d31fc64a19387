"""Whether the files of a model folder are of one model: checkpoint.json has no hash of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tfm.export.errors import ExportError
from tfm.runtime import Translator
from tfm.runtime.config import ModelConfig as FolderConfig
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

from .graph_weights import GraphWeights

# How far the encoder's output may be from PyTorch's, relative to its size. int8 rounds the
# activations too (0.01 in the bundled model); another activation function differs by 0.3.
TOLERANCES = {"fp32": 1e-3, "int8": 0.1}
LENGTHS = (9, 5)


def check_description(config: TransformerConfig, described: FolderConfig, folder: Path) -> None:
    """Raise ExportError where checkpoint.json and config.json are of different models."""
    architecture, special_ids = described.architecture, described.special_ids
    pairs: dict[str, Any] = {
        name: getattr(architecture, name)
        for name in (
            *("d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers"),
            *("source_vocab_size", "target_vocab_size", "norm", "decoder_autoregression"),
        )
    }
    pairs |= {name: getattr(special_ids, name) for name in ("bos_id", "eos_id", "pad_id", "unk_id")}
    pairs |= {
        "source_language": described.languages.source,
        "target_language": described.languages.target,
        "language_token": described.languages.language_token,
        "language_ids": described.languages.language_ids,
        "source_eos": described.source_eos,
    }
    for name, value in pairs.items():
        if getattr(config, name) != value:
            raise ExportError(
                f"{folder}: by checkpoint.json {name} is {getattr(config, name)!r}, by config.json "
                f"{value!r}: they are of different models"
            )


def check_suppressed(suppress_ids: Sequence[int], decoder: GraphWeights) -> None:
    """Raise ExportError unless the graph suppresses the same tokens as checkpoint.json."""
    _, _, bias = decoder.rows[-1]
    if set(np.flatnonzero(~np.isfinite(bias)).tolist()) != set(suppress_ids):
        raise ExportError("checkpoint.json and the decoder suppress different tokens")


@torch.no_grad()
def check_encoder(model: Transformer, translator: Translator, folder: Path) -> None:
    """Raise ExportError unless the model computes what the folder's encoder computes."""
    config = model.config
    generator = np.random.default_rng(1)
    sources = [generator.integers(config.source_vocab_size, size=n).tolist() for n in LENGTHS]
    sources = [[config.eos_id if i == config.pad_id else i for i in row] for row in sources]
    memory, bias = model.encode(pad(sources, config.pad_id))
    projected = model.decoder_layers[0].cross_attention.k_proj(memory)
    theirs = projected.unflatten(2, (config.num_heads, -1)).transpose(1, 2).numpy()
    ours = translator.sessions.encode(sources, beam_size=1).memory["cross_key.0"]
    real = np.isfinite(bias.numpy()).transpose(0, 1, 3, 2)
    difference = np.linalg.norm((ours - theirs) * real) / np.linalg.norm(theirs * real)
    variant = translator.sessions.choice.variant
    if not difference <= TOLERANCES[variant]:
        raise ExportError(
            f"{folder}: the model by checkpoint.json computes something else than the graphs "
            f"({variant} differs by {difference:.0%}): they are of different models"
        )

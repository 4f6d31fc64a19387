"""The trainer's weights in MarianMTModel of transformers, and from there in optimum's ONNX.

Marian is the paper's Transformer, post-norm with sinusoidal positions. Three things differ:

* Its positions hold all sines and then all cosines, ours alternate. The order of the D elements
  that layers hand to each other means nothing, so they are permuted everywhere at once.
* Its two vocabularies have one size: the smaller one is filled up, with an infinitely
  improbable bias where that is the target's.
* Its keys have a bias: zero.

Shapes: D d_model, V vocabulary.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfm.trainer.model import DecoderLayer, EncoderLayer, MultiHeadAttention, Residual, Transformer

LONGEST = 512  # positions that Marian stores
FILLED = -1e9  # a bias; not -inf, which beam search would subtract from itself


def to_marian(model: Transformer) -> Any:
    """The same function as a MarianMTModel, in evaluation mode.

    Raises:
        ValueError: the model is pre-norm, which Marian's class has no place for
    """
    from transformers import MarianConfig, MarianMTModel

    config = model.config
    if config.norm != "post":
        raise ValueError("no transformers class is a pre-norm model with separate vocabularies")
    size = max(config.source_vocab_size, config.target_vocab_size)
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=size,
            d_model=config.d_model,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            encoder_ffn_dim=config.d_ff,
            decoder_ffn_dim=config.d_ff,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            max_position_embeddings=LONGEST,
            activation_function="relu",
            scale_embedding=True,
            share_encoder_decoder_embeddings=config.tied_embeddings == "all",
            tie_word_embeddings=config.tied_embeddings != "none",
            pad_token_id=config.pad_id,
            bos_token_id=config.bos_id,
            eos_token_id=config.eos_id,
            forced_eos_token_id=None,
            decoder_start_token_id=config.bos_id,
        )
    )
    weights = _weights(model, size)
    absent, unknown = marian.load_state_dict(weights, strict=False)
    known = {"model.shared.weight", "lm_head.weight"}
    assert not unknown, unknown
    assert {name for name in absent if "embed_positions" not in name} <= known, absent
    return marian.eval()


def write_marian(model: Transformer, folder: Path) -> None:
    """Save as transformers reads it."""
    with _quiet():
        to_marian(model).save_pretrained(folder)


def write_optimum(marian: Path, folder: Path) -> None:
    """Convert a saved Marian model to optimum's three ONNX graphs, float32."""
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    with _quiet():
        converted = ORTModelForSeq2SeqLM.from_pretrained(marian, export=True, use_merged=False)
        converted.save_pretrained(folder)


def quantize_optimum(folder: Path, quantized: Path) -> None:
    """Quantize optimum's graphs as its guide says: int8, dynamic, per channel, for AVX512-VNNI."""
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer

    recipe = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    with _quiet():
        for graph in sorted(folder.glob("*.onnx")):
            quantizer = ORTQuantizer.from_pretrained(folder, file_name=graph.name)
            quantizer.quantize(save_dir=quantized, quantization_config=recipe)


def _weights(model: Transformer, size: int) -> dict[str, Tensor]:
    config = model.config
    dimension = torch.arange(config.d_model)
    order = torch.cat((dimension[0::2], dimension[1::2]))  # sines, then cosines
    tables = {
        "model.encoder.embed_tokens": model.source_embeddings.tokens.weight,
        "model.decoder.embed_tokens": model.target_embeddings.tokens.weight,
        "lm_head": model.projection.weight,
    }
    if config.tied_embeddings == "all":
        tables["model.shared"] = model.source_embeddings.tokens.weight
    weights = {f"{name}.weight": _filled(table, size)[:, order] for name, table in tables.items()}
    bias = torch.zeros(1, size)
    bias[:, config.target_vocab_size :] = FILLED
    weights["final_logits_bias"] = bias
    stacks: dict[str, Sequence[EncoderLayer | DecoderLayer]] = {
        "encoder": model.encoder_layers,
        "decoder": model.decoder_layers,
    }
    for side, layers in stacks.items():
        for number, layer in enumerate(layers):
            prefix = f"model.{side}.layers.{number}."
            weights |= {prefix + name: w for name, w in _layer(layer, order).items()}
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _filled(table: Tensor, size: int) -> Tensor:
    """[V, D] with rows of zeros up to the size."""
    return F.pad(table, (0, 0, 0, size - table.shape[0]))


def _layer(layer: EncoderLayer | DecoderLayer, order: Tensor) -> dict[str, Tensor]:
    weights = {
        **_attention("self_attn", layer.self_attention, layer.self_attention_residual, order),
        **_reads("fc1", layer.feed_forward.inner, order),
        **_writes("fc2", layer.feed_forward.outer, order),
        **_norm("final_layer_norm", layer.feed_forward_residual, order),
    }
    if isinstance(layer, DecoderLayer):
        weights |= _attention(
            "encoder_attn", layer.cross_attention, layer.cross_attention_residual, order
        )
    return weights


def _attention(
    name: str, attention: MultiHeadAttention, residual: Residual, order: Tensor
) -> dict[str, Tensor]:
    return {
        **_reads(f"{name}.q_proj", attention.q_proj, order),
        **_reads(f"{name}.k_proj", attention.k_proj, order),
        **_reads(f"{name}.v_proj", attention.v_proj, order),
        **_writes(f"{name}.out_proj", attention.out_proj, order),
        **_norm(f"{name}_layer_norm", residual, order),
    }


def _reads(name: str, linear: nn.Linear, order: Tensor) -> dict[str, Tensor]:
    """A map from D to something else."""
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return {f"{name}.weight": linear.weight[:, order], f"{name}.bias": bias}


def _writes(name: str, linear: nn.Linear, order: Tensor) -> dict[str, Tensor]:
    """A map from something else to D."""
    return {f"{name}.weight": linear.weight[order], f"{name}.bias": linear.bias[order]}


def _norm(name: str, residual: Residual, order: Tensor) -> dict[str, Tensor]:
    norm = residual.norm
    return {f"{name}.weight": norm.weight[order], f"{name}.bias": norm.bias[order]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of their own internals; none of it is for the person who measures."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""The trainer's weights in CTranslate2's format."""

from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from ctranslate2.specs import Activation, TransformerSpec
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.export.graphs.modules import output_bias
from tfm.runtime.subwords import plain_name
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import FeedForward, MultiHeadAttention, Residual, Transformer
from tfm.trainer.positions import sinusoidal_positions

from .unsupported import refuse_recurrent

LONGEST = 512  # positions that CTranslate2 stores, unless told otherwise
ACTIVATIONS = {"relu": Activation.RELU, "swish": Activation.SWISH, "gelu": Activation.GELU}


def write_ctranslate2(
    model: Transformer,
    folder: Path,
    vocabulary: Vocabulary | None = None,
    quantization: str | None = None,
    longest: int = LONGEST,
) -> None:
    """Write a CTranslate2 model.

    Args:
        folder: a new folder
        vocabulary: its pieces name the tokens, its files are written too, and CTranslate2 is to add
            EOS to what it is given; with None token i is `t<i>` and EOS the caller's
        quantization: "int8", ...; None keeps float32
        longest: tokens that a sentence may have, prefix and EOS included

    Raises:
        ExportError: CTranslate2 has no part for what the model has
    """
    config = model.config
    refuse_recurrent(config, "CTranslate2")
    spec = spec_of(model, longest)
    source = _names(None if vocabulary is None else vocabulary.source, config.source_vocab_size)
    target = _names(None if vocabulary is None else vocabulary.target, config.target_vocab_size)
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.layer_norm_epsilon = config.norm_epsilon
    spec.config.add_source_bos = False
    spec.config.add_source_eos = vocabulary is not None and config.source_eos
    spec.config.decoder_start_token = spec.config.bos_token = target[config.bos_id]
    spec.config.eos_token = target[config.eos_id]
    spec.config.unk_token = target[config.unk_id]
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))
    if vocabulary is not None:
        vocabulary.save(folder)


def _names(processor: sentencepiece.SentencePieceProcessor | None, size: int) -> list[str]:
    """What CTranslate2 calls the tokens."""
    if processor is None:
        return [f"t{i}" for i in range(size)]
    return [plain_name(piece) for piece in processor.id_to_piece(list(range(size)))]


def spec_of(model: Transformer, longest: int = LONGEST) -> Any:
    """The weights in CTranslate2's own tree, without a vocabulary."""
    config = model.config
    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
        activation=ACTIVATIONS[config.activation],
    )
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = config.scale_embeddings
    positions = _array(sinusoidal_positions(torch.arange(float(longest)), config))
    spec.encoder.position_encodings.encodings = positions
    spec.decoder.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = _array(model.source_embeddings.tokens.weight)
    spec.decoder.embeddings.weight = _array(model.target_embeddings.tokens.weight)
    for to, encoder in zip(spec.encoder.layer, model.encoder_layers, strict=True):
        _self_attention(to.self_attention, encoder.self_attention, encoder.self_attention_residual)
        _feed_forward(to.ffn, encoder.feed_forward, encoder.feed_forward_residual)
    for to, decoder in zip(spec.decoder.layer, model.decoder_layers, strict=True):
        _self_attention(to.self_attention, decoder.self_attention, decoder.self_attention_residual)
        _cross_attention(to.attention, decoder.cross_attention, decoder.cross_attention_residual)
        _feed_forward(to.ffn, decoder.feed_forward, decoder.feed_forward_residual)
    for to, norm in ((spec.encoder, model.encoder_norm), (spec.decoder, model.decoder_norm)):
        if isinstance(norm, nn.LayerNorm):
            _norm(to.layer_norm, norm)
    spec.decoder.projection.weight = _array(model.projection.weight)
    bias = output_bias(model)
    if bias is not None:
        spec.decoder.projection.bias = _array(bias)
    return spec


def _array(tensor: Tensor) -> NDArray[np.float32]:
    # A copy: CTranslate2 quantizes in place, and the next conversion needs the weights too.
    return tensor.detach().numpy().copy()


def _self_attention(to: Any, attention: MultiHeadAttention, residual: Residual) -> None:
    _linear(to.linear[0], attention.q_proj, attention.k_proj, attention.v_proj)
    _linear(to.linear[1], attention.out_proj)
    _norm(to.layer_norm, residual.norm)


def _cross_attention(to: Any, attention: MultiHeadAttention, residual: Residual) -> None:
    _linear(to.linear[0], attention.q_proj)
    _linear(to.linear[1], attention.k_proj, attention.v_proj)
    _linear(to.linear[2], attention.out_proj)
    _norm(to.layer_norm, residual.norm)


def _feed_forward(to: Any, feed_forward: FeedForward, residual: Residual) -> None:
    _linear(to.linear_0, feed_forward.inner)
    _linear(to.linear_1, feed_forward.outer)
    _norm(to.layer_norm, residual.norm)


def _linear(to: Any, *layers: nn.Linear) -> None:
    to.weight = np.concatenate([_array(layer.weight) for layer in layers])
    to.bias = np.concatenate(
        [
            np.zeros(layer.out_features, np.float32) if layer.bias is None else _array(layer.bias)
            for layer in layers
        ]
    )


def _norm(to: Any, norm: nn.LayerNorm) -> None:
    to.gamma, to.beta = _array(norm.weight), _array(norm.bias)

"""The trainer's weights in CTranslate2: an engine that shares no code with ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.specs import TransformerSpec
from numpy.typing import NDArray
from torch import Tensor, nn

from tfm.trainer.model import (
    FeedForward,
    MultiHeadAttention,
    Residual,
    Transformer,
    sinusoidal_positions,
)

LONGEST = 512  # positions that CTranslate2 stores

Hypotheses = list[tuple[tuple[int, ...], float]]


class Reference:
    """CTranslate2 over the weights of a Transformer; its tokens are the ids as text."""

    def __init__(
        self,
        model: Transformer,
        folder: Path,
        *,
        compute_type: str = "float32",
        intra_threads: int = 1,
    ) -> None:
        config = model.config
        spec = _spec(model)
        for size, register in (
            (config.source_vocab_size, spec.register_source_vocabulary),
            (config.target_vocab_size, spec.register_target_vocabulary),
        ):
            register([_name(model, i) for i in range(size)])
        spec.config.add_source_eos = spec.config.add_source_bos = False
        spec.config.decoder_start_token = _name(model, config.bos_id)
        spec.config.eos_token = _name(model, config.eos_id)
        spec.validate()
        folder.mkdir()
        spec.save(str(folder))
        self._model = model
        self._ids = {_name(model, i): i for i in range(config.target_vocab_size)}
        self._translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type=compute_type, intra_threads=intra_threads
        )

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        *,
        beam_size: int,
        num_hypotheses: int,
        length_penalty: float,
        max_length: int,
        max_batch_size: int = 0,
    ) -> list[Hypotheses]:
        """(ids, score) of each hypothesis, best first; sources end in EOS."""
        results = self._translator.translate_batch(
            [[_name(self._model, i) for i in ids] for ids in sources],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_decoding_length=max_length,
            min_decoding_length=0,
            max_batch_size=max_batch_size,
            return_scores=True,
        )
        return [
            [
                (tuple(self._ids[token] for token in hypothesis), score)
                for hypothesis, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]


def _name(model: Transformer, token: int) -> str:
    config = model.config
    special = {config.unk_id: "<unk>", config.bos_id: "<s>", config.eos_id: "</s>"}
    return special.get(token, f"t{token}")


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy())


def _spec(model: Transformer) -> TransformerSpec:
    config = model.config
    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
    )
    positions = _array(sinusoidal_positions(torch.arange(float(LONGEST)), config.d_model))
    spec.encoder.position_encodings.encodings = positions
    spec.decoder.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = _array(model.source_embeddings.tokens.weight)
    spec.decoder.embeddings.weight = _array(model.target_embeddings.tokens.weight)
    for to, layer in zip(spec.encoder.layer, model.encoder_layers, strict=True):
        _self_attention(to.self_attention, layer.self_attention, layer.self_attention_residual)
        _feed_forward(to.ffn, layer.feed_forward, layer.feed_forward_residual)
    for to, layer in zip(spec.decoder.layer, model.decoder_layers, strict=True):
        _self_attention(to.self_attention, layer.self_attention, layer.self_attention_residual)
        _cross_attention(to.attention, layer.cross_attention, layer.cross_attention_residual)
        _feed_forward(to.ffn, layer.feed_forward, layer.feed_forward_residual)
    for to, norm in (
        (spec.encoder, model.encoder_norm),
        (spec.decoder, model.decoder_norm),
    ):
        if isinstance(norm, nn.LayerNorm):
            _norm(to.layer_norm, norm)
    spec.decoder.projection.weight = _array(model.projection.weight)
    return spec


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

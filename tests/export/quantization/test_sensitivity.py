"""Sensitivity: a planted weakness ranks first, and the model is left as it was."""

import copy

import numpy as np
import pytest
import torch
from helpers.models import MakeModel
from torch import nn

from tfm.export.quantization.calibrate import activation_params, random_sources
from tfm.export.quantization.linears import linear_layers
from tfm.export.quantization.sensitivity import sensitivities
from tfm.export.torch_reference import torch_greedy
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

NAME = "decoder/layers.0.layer.feed_forward.outer"


@torch.no_grad()
def with_outlier(model: Transformer) -> Transformer:
    """A model of the same function with one huge neuron between inner and outer."""
    planted = copy.deepcopy(model)
    network = planted.decoder_layers[0].feed_forward
    network.inner.weight[5] *= 3000
    network.inner.bias[5] *= 3000
    network.outer.weight[:, 5] /= 3000
    return planted


@torch.no_grad()
def with_large_weights(model: Transformer) -> Transformer:
    """A model of the same function, pre-norm, whose cross-attention query has a huge column."""
    planted = copy.deepcopy(model)
    layer = planted.decoder_layers[1]
    norm = layer.cross_attention_residual.norm
    norm.weight[3] /= 1000
    norm.bias[3] /= 1000
    layer.cross_attention.q_proj.weight[:, 3] *= 1000
    return planted


def test_planting_changes_nothing(pre_model: Transformer) -> None:
    source_ids, target_ids = torch.tensor([[5, 6, 7]]), torch.tensor([[2, 9, 11, 8]])
    expected = pre_model(source_ids, target_ids)
    for planted in (with_outlier(pre_model), with_large_weights(pre_model)):
        torch.testing.assert_close(planted(source_ids, target_ids), expected, atol=1e-3, rtol=1e-3)


def test_an_outlier_ranks_first_in_int8(pre_model: Transformer) -> None:
    sources = random_sources(pre_model.config)
    losses = {}
    for name, model in (("plain", pre_model), ("planted", with_outlier(pre_model))):
        found = sensitivities(model, sources, "int8", activation_params(model, sources))
        assert set(found) == {product.name for product in linear_layers(model)}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert all(value >= -1e-6 for value in found.values())
        losses[name] = found
    assert next(iter(losses["planted"])) == NAME
    assert losses["planted"][NAME] > 10 * losses["plain"][NAME]


def test_large_weights_rank_first_in_int4(make_model: MakeModel) -> None:
    model = make_model(
        seed=3, source_vocab_size=45, target_vocab_size=50, d_model=32, d_ff=64, num_heads=2,
        encoder_layers=1, decoder_layers=2, norm="pre", tied_embeddings="none",
    )  # fmt: skip
    found = sensitivities(with_large_weights(model), random_sources(model.config), "int4", {})
    assert next(iter(found)) == "decoder/layers.1.cross_query"


@torch.no_grad()
def test_the_loss_is_the_divergence_of_the_outputs(tiny_model: Transformer) -> None:
    config = tiny_model.config
    sources = random_sources(config)
    ranges = activation_params(tiny_model, sources)
    found = sensitivities(tiny_model, sources, "int8", ranges)

    # The encoder's last product, by another road: a copy of the model and one sentence at a time.
    rounded = copy.deepcopy(tiny_model)
    how = ranges["encoder/layers.0.layer.feed_forward.outer"]
    outer = rounded.encoder_layers[0].feed_forward.outer
    pairs = outer.weight.unflatten(1, (-1, 2))
    scale = torch.maximum(pairs.relu().sum(2), (-pairs).relu().sum(2)).amax(1, keepdim=True) / 127
    outer.weight.copy_((outer.weight / scale).round() * scale)

    class Rounding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scale, zero_point = how.scale, how.zero_point
            return outer(torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255))

    rounded.encoder_layers[0].feed_forward.outer = Rounding()  # type: ignore[assignment]
    total, tokens = 0.0, 0
    for source, target in zip(sources, torch_greedy(tiny_model, sources), strict=True):
        ids = torch.tensor([source]), torch.tensor([[config.bos_id, *target]])
        expected, ours = (m(*ids).log_softmax(2)[0] for m in (tiny_model, rounded))
        total += float(nn.functional.kl_div(ours, expected, log_target=True, reduction="sum"))
        tokens += len(expected)
    assert total > 0
    name = "encoder/layers.0.layer.feed_forward.outer"
    assert found[name] == pytest.approx(total / tokens, rel=0.02)


def test_the_model_is_as_it_was(tiny_model: Transformer) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    source_ids, target_ids = pad([[5, 6, 7]], 0), torch.tensor([[2, 9, 11]])
    expected = tiny_model(source_ids, target_ids)
    sources = random_sources(tiny_model.config)
    for variant, ranges in (("int8", activation_params(tiny_model, sources)), ("int4", {})):
        sensitivities(tiny_model, sources, variant, ranges)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    tied = tiny_model.target_embeddings.tokens.weight
    assert tied is tiny_model.projection.weight
    np.testing.assert_array_equal(
        tiny_model(source_ids, target_ids).detach(), expected.detach().numpy()
    )

"""Muon against torch's own, the singular value decomposition, and Adam."""

import copy

import pytest
import torch
from torch import nn

from tfm.trainer import muon
from tfm.trainer.config import TrainingRecipe, TransformerConfig
from tfm.trainer.model import Transformer
from tfm.trainer.muon import Muon, layer_matrices, orthogonalize
from tfm.trainer.optimizer import build_optimizer


def small_model(**settings: object) -> Transformer:
    torch.manual_seed(3)
    return Transformer(
        TransformerConfig(
            source_vocab_size=20,
            target_vocab_size=20,
            d_model=16,
            d_ff=32,
            num_heads=2,
            encoder_layers=1,
            decoder_layers=1,
            **settings,  # type: ignore[arg-type]
        )
    )


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 40, 8), (1, 1, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalize_keeps_the_singular_vectors_and_evens_out_the_values(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(shape[0], shape[1], min(shape[1:])))
    right, _ = torch.linalg.qr(torch.randn(shape[0], shape[2], min(shape[1:])))
    values = torch.linspace(0.1, 30, min(shape[1:]))
    result = orthogonalize((left * values @ right.mT).to(dtype))
    assert result.dtype == dtype
    inner = left.mT @ result.float() @ right  # diagonal, if the singular vectors are the same
    tolerance = 0.01 if dtype == torch.float32 else 0.2
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert ((diagonal > 0.3) & (diagonal < 1.25)).all()
    assert (inner - torch.diag_embed(diagonal)).abs().max() < tolerance
    assert (result.float() - left @ inner @ right.mT).abs().max() < tolerance


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_are_those_of_torch(decay: float) -> None:
    torch_muon = getattr(torch.optim, "Muon", None)
    if torch_muon is None:
        pytest.skip("torch has Muon from 2.9 on")
    torch.manual_seed(0)
    ours = nn.ParameterList([nn.Parameter(torch.randn(s)) for s in ((8, 8), (8, 8), (8, 24))])
    theirs = copy.deepcopy(ours)
    groups = [{"params": list(ours), "weight_decay": decay, "orthogonal": True}]
    optimizers = (
        Muon(groups, lr=0.02),
        torch_muon(theirs, lr=0.02, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)  # bfloat16, other order
        assert (one - other).abs().mean() < 5e-4


@pytest.mark.parametrize("tied", ["none", "target", "all"])
@pytest.mark.parametrize("decoder", ["attention", "ssru"])
def test_the_matrices_of_the_layers_are_orthogonal_and_the_rest_is_adams(
    tied: str, decoder: str
) -> None:
    model = small_model(tied_embeddings=tied, decoder_autoregression=decoder)
    chosen = {id(matrix) for matrix in layer_matrices(model)}
    names = {name for name, p in model.named_parameters() if id(p) in chosen}
    layers = {n for n, p in model.named_parameters() if p.ndim == 2 and "coder." in n}
    assert names == layers
    optimizer = build_optimizer(model, TrainingRecipe(optimizer="muon"))
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    others = small_model(tied_embeddings=tied, decoder_autoregression=decoder)
    adam = build_optimizer(others, TrainingRecipe())
    assert isinstance(optimizer, Muon) and not isinstance(adam, Muon)
    for one, other in zip(model.parameters(), others.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    for each in (optimizer, adam):
        for group in each.param_groups:
            group["lr"] = 0.01
        each.step()
    pairs = zip(model.named_parameters(), others.parameters(), strict=True)
    for (name, one), other in pairs:
        assert torch.equal(one, other) == (name not in layers), name


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_it_computes_in_the_precision_of_the_recipe(
    monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    """A CPU without units for bfloat16 took 40 seconds for a step that fp32 does in four."""
    computed = []

    def watched(matrices: torch.Tensor) -> torch.Tensor:
        computed.append(matrices.dtype)
        return orthogonalize(matrices)

    monkeypatch.setattr(muon, "orthogonalize", watched)
    model = small_model()
    recipe = TrainingRecipe(optimizer="muon", precision=precision)  # type: ignore[arg-type]
    optimizer = build_optimizer(model, recipe)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert set(computed) == {dtype}

"""The Transformer against torch's own layers with the same weights, and its properties alone."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tfm.trainer.checkpoint import weights_of
from tfm.trainer.config import PRESETS, TransformerConfig
from tfm.trainer.errors import TrainError
from tfm.trainer.model import (
    Embeddings,
    MultiHeadAttention,
    Transformer,
    attention_bias,
    causal_mask,
)
from tfm.trainer.positions import sinusoidal_positions

PAD, BOS, EOS = 0, 2, 3
CONFIG = TransformerConfig(
    source_vocab_size=11,
    target_vocab_size=13,
    d_model=16,
    d_ff=24,
    num_heads=4,
    encoder_layers=2,
    decoder_layers=3,
    dropout=0.0,
)
SOURCE_IDS = torch.tensor([[4, 5, 6, 7, EOS], [8, 9, EOS, PAD, PAD], [10, EOS, PAD, PAD, PAD]])
TARGET_IDS = torch.tensor([[BOS, 4, 5, 6], [BOS, 7, 8, 9], [BOS, 10, 11, 12]])

# parameters of ours that, joined along the first dimension, are one parameter of torch's
Pairs = list[tuple[list[nn.Parameter], nn.Parameter]]


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter, biases and norms too, a value that matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)


def build(config: TransformerConfig = CONFIG, seed: int = 0) -> Transformer:
    """In double precision, so that only a real difference exceeds the tolerances."""
    model = Transformer(config).double()
    randomize(model, seed)
    return model.eval()


def attention_pairs(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> Pairs:
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    # ours has no bias on keys; whatever torch's is, the softmax takes it out again
    key_bias = nn.Parameter(torch.full_like(ours.q_proj.bias, 0.3))
    key_bias.grad = torch.zeros_like(key_bias)
    return [
        ([p.weight for p in projections], theirs.in_proj_weight),
        ([ours.q_proj.bias, key_bias, ours.v_proj.bias], theirs.in_proj_bias),
        ([ours.out_proj.weight], theirs.out_proj.weight),
        ([ours.out_proj.bias], theirs.out_proj.bias),
    ]


def module_pairs(ours: nn.Module, theirs: nn.Module) -> Pairs:
    named = dict(ours.named_parameters())
    return [([named[name]], parameter) for name, parameter in theirs.named_parameters()]


def layer_pairs(ours: Any, theirs: Any, norms: list[Any]) -> Pairs:
    residuals = [ours.self_attention_residual, ours.feed_forward_residual]
    pairs = attention_pairs(ours.self_attention, theirs.self_attn)
    if hasattr(ours, "cross_attention"):
        residuals.insert(1, ours.cross_attention_residual)
        pairs += attention_pairs(ours.cross_attention, theirs.multihead_attn)
    pairs += module_pairs(ours.feed_forward.inner, theirs.linear1)
    pairs += module_pairs(ours.feed_forward.outer, theirs.linear2)
    for residual, norm in zip(residuals, norms, strict=True):
        pairs += module_pairs(residual.norm, norm)
    return pairs


def torch_stacks(model: Transformer) -> tuple[nn.Module, nn.Module, Pairs]:
    """nn.TransformerEncoder and nn.TransformerDecoder with the weights of model."""
    config = model.config
    options: dict[str, Any] = {
        "d_model": config.d_model,
        "nhead": config.num_heads,
        "dim_feedforward": config.d_ff,
        "dropout": 0.0,
        "activation": "relu",
        "batch_first": True,
        "norm_first": config.norm == "pre",
        "dtype": torch.float64,
    }
    norms = [
        nn.LayerNorm(config.d_model, dtype=torch.float64) if config.norm == "pre" else None
        for _ in range(2)
    ]
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**options),
        config.encoder_layers,
        norms[0],
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(**options), config.decoder_layers, norms[1]
    )
    pairs: Pairs = []
    for ours, theirs in zip(model.encoder, encoder.layers, strict=True):
        pairs += layer_pairs(ours, theirs, [theirs.norm1, theirs.norm2])
    for ours, theirs in zip(model.decoder, decoder.layers, strict=True):
        pairs += layer_pairs(ours, theirs, [theirs.norm1, theirs.norm2, theirs.norm3])
    for ours, norm in zip((model.encoder_norm, model.decoder_norm), norms, strict=True):
        if norm is not None:
            pairs += module_pairs(ours, norm)
    copied = {id(theirs) for _, theirs in pairs}
    assert copied == {id(p) for p in (*encoder.parameters(), *decoder.parameters())}
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.copy_(torch.cat(ours))
    return encoder, decoder, pairs


def torch_hidden(encoder: nn.Module, decoder: nn.Module, model: Transformer) -> Tensor:
    padding = SOURCE_IDS == PAD
    memory = encoder(model.source_embeddings(SOURCE_IDS), src_key_padding_mask=padding)
    future = torch.ones(TARGET_IDS.shape[1], TARGET_IDS.shape[1], dtype=torch.bool).triu(1)
    hidden: Tensor = decoder(
        model.target_embeddings(TARGET_IDS),
        memory,
        tgt_mask=future,
        memory_key_padding_mask=padding,
    )
    return hidden


@pytest.mark.parametrize("case", ["self", "cross", "causal", "padded"])
def test_attention_equals_torch(case: str) -> None:
    torch.manual_seed(0)
    ours = MultiHeadAttention(16, 4).double()
    randomize(ours)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parts, whole in attention_pairs(ours, theirs):
            whole.copy_(torch.cat(parts))
    query = torch.randn(3, 5, 16, dtype=torch.float64)
    memory = query if case in ("self", "causal") else torch.randn(3, 7, 16, dtype=torch.float64)
    mask = torch.ones(1, 1, 5, memory.shape[1], dtype=torch.bool)
    masks: dict[str, Tensor] = {}
    if case == "causal":
        mask = causal_mask(5, torch.device("cpu"))
        masks["attn_mask"] = torch.ones(5, 5, dtype=torch.bool).triu(1)
    if case == "padded":
        real = torch.arange(7) < torch.tensor([[7], [4], [1]])
        mask = real[:, None, None, :]
        masks["key_padding_mask"] = ~real
    expected, _ = theirs(query, memory, memory, need_weights=False, **masks)
    torch.testing.assert_close(ours(query, memory, attention_bias(mask)), expected)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_model_equals_torch_layers_with_gradients(norm: Any) -> None:
    model = build(dataclasses.replace(CONFIG, norm=norm))
    encoder, decoder, pairs = torch_stacks(model)

    theirs = torch_hidden(encoder, decoder, model)
    direction = torch.randn(
        theirs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    (theirs * direction).sum().backward()
    embedding_grad = model.source_embeddings.tokens.weight.grad
    assert embedding_grad is not None
    model.zero_grad()

    memory, bias = model.encode(SOURCE_IDS)
    ours = model.decode(TARGET_IDS, memory, bias)
    (ours * direction).sum().backward()

    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        model(SOURCE_IDS, TARGET_IDS), theirs @ model.target_embeddings.tokens.weight.T
    )
    torch.testing.assert_close(model.source_embeddings.tokens.weight.grad, embedding_grad)
    for parts, whole in pairs:
        torch.testing.assert_close(torch.cat([p.grad for p in parts]), whole.grad)


def test_norms_differ() -> None:
    post, pre = (build(dataclasses.replace(CONFIG, norm=norm)) for norm in ("post", "pre"))
    pre.load_state_dict(post.state_dict(), strict=False)
    assert not torch.allclose(post(SOURCE_IDS, TARGET_IDS), pre(SOURCE_IDS, TARGET_IDS))


def test_embeddings_are_scaled_and_placed() -> None:
    config = dataclasses.replace(CONFIG, d_model=16, dropout=0.5)
    embeddings = Embeddings(7, config).eval()
    ids = torch.tensor([[1, 2, 3], [4, 4, 6]])
    expected = embeddings.tokens.weight[ids] * 4 + sinusoidal_positions(torch.arange(3.0), config)
    torch.testing.assert_close(embeddings(ids), expected)


@pytest.mark.parametrize("tied", ["none", "target", "all"])
def test_embeddings_start_at_unit_size_whatever_is_tied(tied: str) -> None:
    torch.manual_seed(0)
    sizes = {"source_vocab_size": 900, "target_vocab_size": 900}
    model = Transformer(TransformerConfig(**sizes, d_model=64, num_heads=4, tied_embeddings=tied))
    for embeddings in (model.source_embeddings, model.target_embeddings):
        std = embeddings.tokens.weight.detach().std()
        assert float(std) * embeddings.scale == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_later_target_tokens_do_not_reach_earlier_outputs(norm: Any) -> None:
    model = build(dataclasses.replace(CONFIG, norm=norm))
    changed = TARGET_IDS.clone()
    changed[:, 2:] = torch.tensor([[12, 4], [4, 12], [5, 5]])
    before, after = model(SOURCE_IDS, TARGET_IDS), model(SOURCE_IDS, changed)
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert not torch.isclose(after[:, 2:], before[:, 2:]).all(dim=2).any()


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_source_padding_changes_nothing(norm: Any) -> None:
    model = build(dataclasses.replace(CONFIG, norm=norm))
    batched = model(SOURCE_IDS, TARGET_IDS)
    for row, (source, target) in enumerate(zip(SOURCE_IDS, TARGET_IDS, strict=True)):
        alone = model(source[source != PAD][None], target[None])
        torch.testing.assert_close(alone[0], batched[row])


@pytest.mark.parametrize(
    ("tied", "matrices", "stored"),
    [
        ("none", 3, {"source_embeddings", "target_embeddings", "projection"}),
        ("target", 2, {"source_embeddings", "target_embeddings"}),
        ("all", 1, {"source_embeddings"}),
    ],
)
def test_tied_matrices_are_one_and_stored_once(tied: Any, matrices: int, stored: set[str]) -> None:
    config = dataclasses.replace(CONFIG, target_vocab_size=11, tied_embeddings=tied)
    model = Transformer(config)
    embeddings = (model.source_embeddings.tokens, model.target_embeddings.tokens)
    assert len({id(m.weight) for m in (*embeddings, model.projection)}) == matrices
    names = {name.split(".")[0] for name in weights_of(model) if not name.startswith(("en", "de"))}
    assert names == stored

    ids = torch.randint(4, 11, (2, 3))
    model(ids, ids).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    shared = [model.projection.weight, embeddings[1].weight, embeddings[0].weight]
    for other in shared[1 : 4 - matrices]:
        assert torch.equal(shared[0], other)


def test_all_tied_needs_one_vocabulary() -> None:
    with pytest.raises(TrainError, match="joint = true"):
        dataclasses.replace(CONFIG, tied_embeddings="all")


@pytest.mark.parametrize(("preset", "millions"), [("base", 65), ("big", 213)])
def test_presets_have_the_size_of_table_3(preset: str, millions: int) -> None:
    config = TransformerConfig(
        source_vocab_size=37000,
        target_vocab_size=37000,
        tied_embeddings="all",
        **PRESETS[preset],
    )
    with torch.device("meta"):
        model = Transformer(config)
    count = sum(p.numel() for p in model.parameters())
    assert abs(count / 1e6 - millions) < 0.05 * millions


def test_heads_must_divide_the_model() -> None:
    with pytest.raises(TrainError, match="d_model 20 with num_heads 4"):
        dataclasses.replace(CONFIG, d_model=20)


def test_greedy_takes_the_best_token_at_every_step() -> None:
    config = dataclasses.replace(CONFIG, target_vocab_size=6, tied_embeddings="none", norm="pre")
    lengths = set()
    for seed in (13, 17, 23):
        model = build(config, seed)
        nn.init.zeros_(model.decoder_norm.bias)  # or it alone decides which token is best
        for row, ids in zip(SOURCE_IDS, model.greedy(SOURCE_IDS, max_length=6), strict=True):
            prefix = [BOS]
            while len(prefix) <= 6:
                logits = model(row[row != PAD][None], torch.tensor([prefix]))
                best = int(logits[0, -1].argmax())
                if best == EOS:
                    break
                prefix.append(best)
            assert ids == prefix[1:]
            lengths.add(len(ids))
    assert 6 in lengths and len(lengths) > 2  # cut at max_length, and ended before it


def test_a_layer_of_another_kind_is_an_error() -> None:
    """It would vanish from the export silently."""
    model = Transformer(
        TransformerConfig(source_vocab_size=9, target_vocab_size=9, encoder_layers=1)
    )
    model.encoder[0] = torch.nn.Identity()
    with pytest.raises(TypeError, match="a layer is Identity, expected EncoderLayer"):
        _ = model.encoder_layers


def test_ablations_need_build_transformer() -> None:
    config = TransformerConfig(source_vocab_size=9, target_vocab_size=9, ablations=("no_scaling",))
    with pytest.raises(TrainError, match=r"ablations no_scaling: .* use build_transformer"):
        Transformer(config)

"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017), and the project's only
definition of it: the export stage wraps these modules rather than writing them again.

Shapes: B batch, S source length, T target length, Q query length, K key length, D d_model,
F d_ff, H heads, C = D / H head size, V vocabulary. Masks: True = attend.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TransformerConfig
from .dropout import Dropout
from .errors import TrainError
from .positions import Positions
from .ssru import SSRU

Layer = TypeVar("Layer", bound=nn.Module)


class Embeddings(nn.Module):
    """Token embeddings times sqrt(D), plus positions, then dropout (sections 3.4, 3.5, 5.4)."""

    def __init__(self, vocab_size: int, config: TransformerConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, config.d_model)
        self.positions = Positions(config)
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self.dropout = Dropout(config.dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids [B, L]; returns [B, L, D]."""
        embedded = self.tokens(ids) * self.scale
        return self.dropout(embedded + self.positions(ids).to(embedded.dtype))  # type: ignore[no-any-return]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with several heads (section 3.2):

    MultiHead(Q, K, V) = Concat(head_1 ... head_H) W^O,
    head_h = softmax(Q W^Q_h (K W^K_h)^T / sqrt(C) + bias) V W^V_h,
    where the bias is 0 at positions to attend to and -inf elsewhere.
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (d_model // num_heads) ** -0.5
        self.q_proj = nn.Linear(d_model, d_model)
        # No bias on keys: it would add the same to all scores of a query, which softmax ignores,
        # and Adam would turn the rounding noise of its zero gradient into drift.
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, query: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        """Attend from query to memory (the same tensor twice is self-attention).

        Args:
            query: [B, Q, D]
            memory: [B, K, D], where keys and values come from
            bias: [B or 1, 1, Q or 1, K], 0 or -inf

        Returns:
            [B, Q, D]
        """
        q = self._split_heads(self.q_proj(query))
        k = self._split_heads(self.k_proj(memory))
        v = self._split_heads(self.v_proj(memory))
        # Batched products over B x H, not F.scaled_dot_product_attention: on a CPU its backward
        # pass is several times slower for sentences, which are short.
        shape = (query.shape[0], self.num_heads, query.shape[1], memory.shape[1])
        bias = bias.to(q.dtype).expand(shape).flatten(0, 1)
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.scale)
        # In float at least, which for short rows is several times as fast on a CPU as bfloat16.
        precise = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(dim=2, dtype=precise).to(v.dtype)
        attended = torch.unflatten(weights @ v, 0, (-1, self.num_heads))  # [B, H, Q, C]
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split_heads(self, x: Tensor) -> Tensor:
        split = torch.unflatten(x, 2, (self.num_heads, -1)).transpose(1, 2)  # [B, H, L, C]
        return split.flatten(0, 1)  # [B * H, L, C]


def attention_bias(mask: Tensor) -> Tensor:
    """0 where mask is True (attend), -inf where it is False; the shape of mask, float."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))


def causal_mask(length: int, device: torch.device) -> Tensor:
    """[1, 1, T, T] bool: position t sees 0..t, never what follows (section 3.2.3)."""
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "swish": F.silu,
    "gelu": F.gelu,
}


class FeedForward(nn.Module):
    """The position-wise network FFN(x) = max(0, x W_1 + b_1) W_2 + b_2 (section 3.3).

    By configuration, x sigmoid(x) (swish) or x Phi(x) (gelu) stands in max's place.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] to [B, L, D]."""
        return self.outer(self.activation(self.inner(x)))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """The connection around every sub-layer: dropout, sum, layer normalization (section 5.4).

    Post-norm, as published: LayerNorm(x + Dropout(sublayer(x))).
    Pre-norm, by configuration: x + Dropout(sublayer(LayerNorm(x))).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.dropout = Dropout(config.dropout)
        self.pre_norm = config.norm == "pre"

    def before(self, x: Tensor) -> Tensor:
        """What the sub-layer reads."""
        return self.norm(x) if self.pre_norm else x

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        """The sub-layer's output joined to its input x."""
        total = x + self.dropout(output)
        return total if self.pre_norm else self.norm(total)  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each in a residual connection (section 3.1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads)
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, source_bias: Tensor) -> Tensor:
        """[B, S, D] to [B, S, D]; source_bias [B, 1, 1, S]."""
        y = self.self_attention_residual.before(x)
        y = self.self_attention(y, y, source_bias)
        x = self.self_attention_residual.after(x, y)
        y = self.feed_forward(self.feed_forward_residual.before(x))
        return self.feed_forward_residual.after(x, y)


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention to the encoder's keys and values, feed-forward.

    By configuration a recurrent unit, `ssru`, stands in self-attention's place.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.is_recurrent = config.decoder_autoregression == "ssru"
        if self.is_recurrent:
            self.ssru = SSRU(config.d_model)
            self.ssru_residual = Residual(config)
        else:
            self.self_attention = MultiHeadAttention(config.d_model, config.num_heads)
            self.self_attention_residual = Residual(config)
        self.cross_attention = MultiHeadAttention(config.d_model, config.num_heads)
        self.cross_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self, x: Tensor, memory: Tensor, target_bias: Tensor, source_bias: Tensor
    ) -> Tensor:
        """[B, T, D] to [B, T, D]; memory [B, S, D], biases [1, 1, T, T] and [B, 1, 1, S]."""
        if self.is_recurrent:
            y = self.ssru(self.ssru_residual.before(x))
            x = self.ssru_residual.after(x, y)
        else:
            y = self.self_attention_residual.before(x)
            y = self.self_attention(y, y, target_bias)
            x = self.self_attention_residual.after(x, y)
        y = self.cross_attention_residual.before(x)
        y = self.cross_attention(y, memory, source_bias)
        x = self.cross_attention_residual.after(x, y)
        y = self.feed_forward(self.feed_forward_residual.before(x))
        return self.feed_forward_residual.after(x, y)


class Transformer(nn.Module):
    """Encoder and decoder stacks with the final linear map to the vocabulary (figure 1)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.ablations:
            raise TrainError(
                f"ablations {', '.join(config.ablations)}: this class is the paper's model alone; "
                "use build_transformer of trainer/studies/ablations.py"
            )
        self.config = config
        d_model = config.d_model
        self.source_embeddings = Embeddings(config.source_vocab_size, config)
        self.target_embeddings = Embeddings(config.target_vocab_size, config)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # Pre-norm leaves the last residual sum unnormalized; post-norm has normalized it.
        final = nn.LayerNorm if config.norm == "pre" else nn.Identity
        self.encoder_norm = final(d_model, eps=config.norm_epsilon)
        self.decoder_norm = final(d_model, eps=config.norm_epsilon)
        self.projection = nn.Linear(d_model, config.target_vocab_size, bias=config.output_bias)
        self.apply(_initialize)
        self._tie_embeddings()  # after: the projection's initialization is not an embedding's

    def _tie_embeddings(self) -> None:
        """Let the matrices that the configuration ties be one parameter (section 3.4)."""
        if self.config.tied_embeddings in ("target", "all"):
            self.projection.weight = self.target_embeddings.tokens.weight
        if self.config.tied_embeddings == "all":
            self.source_embeddings.tokens.weight = self.target_embeddings.tokens.weight

    @property
    def encoder_layers(self) -> list[EncoderLayer]:
        """The encoder's layers, first to last."""
        return _typed(self.encoder, EncoderLayer)

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        """The decoder's layers, first to last."""
        return _typed(self.decoder, DecoderLayer)

    def encode(self, source_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Run the encoder.

        Args:
            source_ids: [B, S] int64, padded with pad_id

        Returns:
            memory: [B, S, D]
            source_bias: [B, 1, 1, S], 0 where there is a token and -inf where there is padding
        """
        source_bias = attention_bias(source_ids != self.config.pad_id)[:, None, None, :]
        x = self.source_embeddings(source_ids)
        for layer in self.encoder:
            x = layer(x, source_bias)
        return self.encoder_norm(x), source_bias

    def decode(self, target_ids: Tensor, memory: Tensor, source_bias: Tensor) -> Tensor:
        """Run the decoder over whole targets (teacher forcing).

        Args:
            target_ids: [B, T] int64, from bos_id on; padding may only be at the end
            memory: [B, S, D]
            source_bias: [B, 1, 1, S]

        Returns:
            [B, T, D], to be multiplied by the projection
        """
        x = self.target_embeddings(target_ids)
        target_bias = attention_bias(causal_mask(target_ids.shape[1], x.device))
        for layer in self.decoder:
            x = layer(x, memory, target_bias, source_bias)
        return self.decoder_norm(x)  # type: ignore[no-any-return]

    def next_logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of the next token, given outputs [..., D] of `decode`.

        Tokens that the model never writes have -inf.
        """
        logits: Tensor = self.projection(hidden)
        forbidden = torch.tensor(self.config.suppress_ids, dtype=torch.int64)
        return logits.index_fill(-1, forbidden.to(logits.device), float("-inf"))

    def next_log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities [..., V] of the next token, given outputs [..., D] of `decode`."""
        return self.next_logits(hidden).log_softmax(dim=-1)

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """Logits [B, T, V] of what follows each of target_ids [B, T], given source_ids [B, S]."""
        memory, source_bias = self.encode(source_ids)
        return self.projection(self.decode(target_ids, memory, source_bias))  # type: ignore[no-any-return]

    @torch.no_grad()
    def greedy(self, source_ids: Tensor, max_length: int) -> list[list[int]]:
        """Decode by taking the most probable token each step, without a cache.

        Plain on purpose: this is the reference that the exported graphs are held to. Sentences
        that are finished leave the batch, or one that never ends would cost as much as all.

        Args:
            source_ids: [B, S] int64
            max_length: tokens of output at most, EOS not counted

        Returns:
            B lists of target ids, without BOS, language tag and EOS
        """
        memory, source_bias = self.encode(source_ids)
        prefix = source_ids.new_tensor(self.config.target_prefix)
        ids = prefix.expand(len(source_ids), -1)
        outputs: list[list[int]] = [[] for _ in source_ids]
        unfinished = outputs
        for _ in range(max_length):
            last = self.decode(ids, memory, source_bias)[:, -1]
            next_ids = self.next_log_probs(last).argmax(dim=1)
            goes_on = next_ids != self.config.eos_id
            ids = torch.cat((ids, next_ids.unsqueeze(1)), dim=1)[goes_on]
            memory, source_bias = memory[goes_on], source_bias[goes_on]
            unfinished = [
                output for output, on in zip(unfinished, goes_on.tolist(), strict=True) if on
            ]
            for output, next_id in zip(unfinished, ids[:, -1].tolist(), strict=True):
                output.append(next_id)
            if not unfinished:
                break
        return outputs


def _typed(layers: nn.ModuleList, kind: type[Layer]) -> list[Layer]:
    """The layers as a list, once each is known to be of the kind."""
    typed = []
    for layer in layers:
        if not isinstance(layer, kind):
            raise TypeError(f"a layer is {type(layer).__name__}, expected {kind.__name__}")
        typed.append(layer)
    return typed


def _initialize(module: nn.Module) -> None:
    """Xavier for the linear maps; embeddings with standard deviation D^-0.5, so that they have
    unit size once scaled by sqrt(D), and logits have it when the projection is tied."""
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

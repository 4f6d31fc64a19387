"""The simpler simple recurrent unit, SSRU (Kim et al. 2019, "From Research to Production and Back:
Ludicrously Fast Neural Machine Translation"), which takes self-attention's place in a decoder.

A step of decoding reads and writes one vector per layer, however long the target is, where
self-attention reads the keys and values of all earlier tokens.

Shapes: B batch, T target length, N rows, D d_model.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SSRU(nn.Module):
    """The recurrent unit of the paper's section 3.1, as Marian has it (`--dec-cell ssru`):

    f_t = sigmoid(W_f x_t + b_f), c_t = f_t c_(t-1) + (1 - f_t) W x_t, o_t = max(0, c_t), c_0 = 0,
    products of vectors being element by element.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.input_proj = nn.Linear(d_model, d_model, bias=False)
        self.forget_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs o [B, T, D] for inputs x [B, T, D], from the state 0 on."""
        return F.relu(self.states(x)).to(x.dtype)

    def states(self, x: Tensor) -> Tensor:
        """The states c [B, T, D] after each of the inputs x [B, T, D]."""
        projected, gate = self.input_proj(x), self.forget_proj(x)
        # In float at least: a state is a sum over all earlier tokens.
        precise = torch.promote_types(gate.dtype, torch.float32)
        forget = gate.to(precise).sigmoid()
        states: Tensor = linear_recurrence(forget, (1 - forget) * projected.to(precise))
        return states

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """The new state for one input x and the state before it, all [N, D]."""
        return next_state(self.input_proj(x), self.forget_proj(x), state)


def next_state(projected: Tensor, gate: Tensor, state: Tensor) -> Tensor:
    """f c + (1 - f) W x with f = sigmoid(gate), given W x, W_f x + b_f and c; all [N, D]."""
    return projected + gate.sigmoid() * (state - projected)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # would be compiled for every T
def linear_recurrence(decay: Tensor, added: Tensor) -> Tensor:
    """c_t = decay_t c_(t-1) + added_t from c_0 = 0, element by element; all [B, T, D].

    It costs what one product of two such tensors costs on a CPU. A scan in log2(T) passes was 5 to
    10 times slower, and a loop that autograd records 1.5 times.
    """
    result: Tensor = _LinearRecurrence.apply(decay, added)  # type: ignore[no-untyped-call]
    return result


class _LinearRecurrence(torch.autograd.Function):
    """The gradient is the same recurrence, backwards in time."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, added: Tensor) -> Tensor:
        states = added.clone()
        by_step, decays = states.unbind(1), decay.unbind(1)
        for t in range(1, len(by_step)):
            by_step[t].addcmul_(decays[t], by_step[t - 1])
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        by_state = gradient.clone()
        by_step, decays = by_state.unbind(1), decay.unbind(1)
        for t in range(len(by_step) - 2, -1, -1):
            by_step[t].addcmul_(decays[t + 1], by_step[t + 1])
        by_decay = torch.zeros_like(decay)
        torch.mul(by_state[:, 1:], states[:, :-1], out=by_decay[:, 1:])
        return by_decay, by_state

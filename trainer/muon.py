"""Muon: steps along orthogonalized momentum for the matrices of the layers, Adam for the rest.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the step's size after
Liu et al. 2025, "Muon is scalable for LLM training" (arXiv 2502.16982), section 2.2.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# A step of this root mean square is about as long as one of Adam: both can share a learning rate.
STEP_RMS = 0.2
# Odd polynomial of Jordan et al.: five rounds bring singular values between 0.01 and 1 near to 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """About U V^T for every matrix U S V^T (Newton-Schulz; singular values from 0.6 to 1.2).

    Args:
        matrices: [N, rows, columns], any floats; bfloat16 is exact enough

    Returns:
        [N, rows, columns] of the same type
    """
    if matrices.shape[1] > matrices.shape[2]:
        transposed: Tensor = orthogonalize(matrices.mT.contiguous()).mT
        return transposed
    linear, cubic, quintic = COEFFICIENTS
    norms = matrices.float().norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    result: Tensor = matrices / norms.to(matrices.dtype)
    for _ in range(ROUNDS):
        square = result @ result.mT
        polynomial = torch.baddbmm(square, square, square, beta=cubic, alpha=quintic)
        result = torch.baddbmm(result, polynomial, result, beta=linear)
    return result


def layer_matrices(model: nn.Module) -> list[Tensor]:
    """The weights of all linear maps but those from and to the vocabulary."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    embeddings.add(id(getattr(getattr(model, "projection", None), "weight", None)))
    weights = (m.weight for m in model.modules() if isinstance(m, nn.Linear))
    return [weight for weight in weights if id(weight) not in embeddings]


class Muon(torch.optim.AdamW):
    """AdamW, in which the groups with `orthogonal` take Muon's steps.

    A step of a matrix W [rows, columns] with gradient G is m = 0.95 m + G, then
    W -= lr * 0.2 sqrt(max(rows, columns)) * orthogonalize(G + 0.95 m).

    Args:
        groups: parameters and their settings, as for AdamW
        dtype: what orthogonalize computes in; a CPU without units for bfloat16 is some ten times
            slower in it
        **settings: AdamW's
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, dtype: torch.dtype = torch.bfloat16, **settings: Any
    ) -> None:
        super().__init__(groups, **settings)
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("orthogonal"):
                for parameters in _of_one_shape(group["params"]):
                    self._orthogonal_step(parameters, group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _orthogonal_step(self, parameters: list[nn.Parameter], rate: float, decay: float) -> None:
        directions = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if not state:  # AdamW expects every state to have a step
                state.update(step=torch.zeros(()), momentum=torch.zeros_like(parameter))
            state["step"] += 1
            momentum = state["momentum"]
            momentum.mul_(MOMENTUM).add_(gradient)
            directions.append((gradient + MOMENTUM * momentum).to(self._dtype))
            parameter.grad = None  # Adam passes over it
        steps = orthogonalize(torch.stack(directions))
        length = rate * STEP_RMS * max(parameters[0].shape) ** 0.5
        for parameter, step in zip(parameters, steps, strict=True):
            if decay:
                parameter.mul_(1 - rate * decay)
            parameter.add_(step.to(parameter.dtype), alpha=-length)


def _of_one_shape(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Those with a gradient, by shape: a product of many small matrices at once is faster."""
    shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            shapes[parameter.shape].append(parameter)
    yield from shapes.values()

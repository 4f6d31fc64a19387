"""Where a training stands: what last.safetensors saves beside the weights and Adam's moments."""

import math
from dataclasses import dataclass

from .config import TrainingRecipe


@dataclass(slots=True)
class TrainingState:
    """Counters and best results of one training; the training loop changes them as it goes.

    The fields are keys of a JSON object in last.safetensors: a new one needs a default.

    Attributes:
        batch: how many batches of `epoch` are used up
        best_loss: lowest validation cross-entropy of current weights, nats per token
        exported_loss: the loss of the weights in model.safetensors
        validated_step: the last step that was validated
        validation: the fingerprint of the validation corpus
        sample: that of the pairs of it that chrF is of, and of how far they are translated; ""
            where an older version saved the state
        precision: the one that training began in, "bf16" or "fp32"
        optimizer: the one whose moments are saved
        initialized: whether training began with the weights of another checkpoint (--init)
        unlogged_loss: summed since the last line of metrics.jsonl, nats
        unlogged_tokens: target tokens since then
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    exported_loss: float = math.inf
    best_chrf: float = -math.inf
    best_chrf_step: int = 0
    validated_step: int = 0
    validation: str = ""
    sample: str = ""
    precision: str = ""
    optimizer: str = "adam"
    initialized: bool = False
    seconds: float = 0.0
    unlogged_loss: float = 0.0
    unlogged_tokens: int = 0

    def record_validation(self, loss: float, average_loss: float, chrf: float) -> None:
        """Note that the current step is validated, and what it is the best in so far.

        Args:
            loss: of the current weights
            average_loss: of the average of the last validations' weights
            chrf: of greedy translations by the better of the two
        """
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step
        self.exported_loss = min(self.exported_loss, loss, average_loss)
        if chrf > self.best_chrf:
            self.best_chrf, self.best_chrf_step = chrf, self.step
        self.validated_step = self.step

    def forget_best(self) -> None:
        """Let the next validation be the best so far: results of two corpora do not compare."""
        self.best_loss, self.best_step = math.inf, 0
        self.exported_loss = math.inf
        self.forget_best_chrf()

    def forget_best_chrf(self) -> None:
        """The same for chrF alone: neither do its results of two samples of one corpus."""
        self.best_chrf, self.best_chrf_step = -math.inf, 0

    def validate_again(self) -> None:
        """Let the current step count as not validated yet, if it was; there is none at step 0."""
        self.validated_step = min(self.validated_step, max(self.step - 1, 0))


def is_over(state: TrainingState, options: TrainingRecipe) -> bool:
    """Whether nothing is left to do, the last validation included."""
    at_end = state.step >= options.max_steps or _no_gain(state, options)
    return at_end and state.validated_step == state.step


def _no_gain(state: TrainingState, options: TrainingRecipe) -> bool:
    """Whether the last stop_after_no_gain validations brought no better result."""
    patience, by_loss = options.stop_after_no_gain, options.stop_metric == "loss"
    best_step = state.best_step if by_loss else state.best_chrf_step
    if patience is None or best_step == 0:
        return False
    return (state.step - best_step) // options.validate_steps >= patience

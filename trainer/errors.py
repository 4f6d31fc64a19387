"""What a user of the trainer can cause: bad recipe, bad data, diverged training."""

from tfm.runtime.errors import TfmError


class TrainError(TfmError):
    """What is wrong, the value, and what to do, in one line."""


class LocalError(TrainError):
    """An error on this rank only; rank 0 cannot report it, so this process has to."""


class DivergedError(TrainError):
    """The loss became NaN or infinite."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step  # the step with that loss

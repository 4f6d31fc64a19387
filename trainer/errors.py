"""What a user of the trainer can cause: bad recipe, bad data, diverged training."""


class TrainError(Exception):
    """What is wrong, the value, and what to do, in one line."""


class OwnError(TrainError):
    """Of one process among several, which has to say it itself: the others do not have it."""


class DivergedError(TrainError):
    """The loss is no number any more."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step  # that had the loss

"""The one error a user of the trainer can cause: bad recipe, bad data, diverged training."""


class TrainError(Exception):
    """What is wrong, the value, and what to do, in one line."""

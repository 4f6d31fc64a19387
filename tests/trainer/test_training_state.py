"""What a training remembers of its validations, and under which keys it is saved."""

import dataclasses
import math

import pytest

from tfm.trainer.training_state import TrainingState


def test_keys_are_those_of_saved_states() -> None:
    """last.safetensors of tfm 0.1.0 has these; one more needs a default, and none may go."""
    assert {field.name for field in dataclasses.fields(TrainingState)} >= {
        *("step", "epoch", "batch", "seconds", "unlogged_loss", "unlogged_tokens"),
        *("best_loss", "best_step", "exported_loss", "best_chrf", "best_chrf_step"),
        *("validated_step", "validation", "precision", "initialized"),
    }


def test_the_best_is_remembered_with_its_step() -> None:
    state = TrainingState(step=5)
    state.record_validation(4.0, 3.0, 10.0)
    state.step = 10
    state.record_validation(3.5, 3.2, 9.0)
    assert (state.best_loss, state.best_step, state.exported_loss) == (3.5, 10, 3.0)
    assert (state.best_chrf, state.best_chrf_step, state.validated_step) == (10.0, 5, 10)


def test_forgetting_the_best_leaves_the_rest() -> None:
    state = TrainingState(step=5, epoch=2, batch=3, precision="bf16", validated_step=5)
    expected = dataclasses.replace(state)
    state.record_validation(4.0, 3.0, 10.0)
    assert state.best_loss < math.inf
    state.forget_best()
    assert state == expected


def test_what_chrf_was_best_is_forgotten_alone() -> None:
    state = TrainingState(step=5)
    state.record_validation(4.0, 3.0, 10.0)
    expected = dataclasses.replace(state, best_chrf=-math.inf, best_chrf_step=0)
    state.forget_best_chrf()
    assert state == expected


@pytest.mark.parametrize(("step", "validated", "expected"), [(5, 5, 4), (8, 5, 5), (0, 0, 0)])
def test_a_step_counts_as_not_validated(step: int, validated: int, expected: int) -> None:
    state = TrainingState(step=step, validated_step=validated)
    state.validate_again()
    assert state.validated_step == expected

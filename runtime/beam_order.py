"""How decoder.onnx is told which beam of the step before each beam goes on from.

Shapes: B sentences, B' of them kept, K beams, E cache slots, E' of them kept.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError


class BeamOrder(Protocol):
    """What one of the decoder's inputs says of the beams, kept from step to step.

    Attributes:
        input_name: of the decoder
    """

    input_name: str

    def reorder(self, beam_origin: NDArray[np.int64]) -> None:
        """Let each beam [B, K] go on from a beam of the step before."""

    def compaction_is_due(self, position: int) -> bool:
        """Whether to compact before the step that `position` others came before."""

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Forget all sentences but these."""

    def compact(self, position: int) -> dict[str, NDArray[np.int64]]:
        """Forget what no beam needs; inputs of compact.onnx that say so.

        Args:
            position: as in `compaction_is_due`
        """

    def input_of_step(self) -> NDArray[Any]:
        """The value of the decoder's input in this step."""


class SlotAncestry:
    """Of self-attention's cache, which slots a beam descends from: 0, else -inf.

    The cache belongs to sentences: every step appends K slots to it, one per beam.

    Args:
        metadata: of decoder.onnx

    Raises:
        ModelError: the decoder does not say how its cache is compacted
    """

    input_name = "ancestry"

    def __init__(self, batch_size: int, beam_size: int, metadata: Mapping[str, str]) -> None:
        self._phase_steps, self._slot_alignment = _compaction_of(metadata)
        self._ancestry = np.zeros((batch_size, beam_size, 0), np.float32)  # [B, K, E]
        self._own_slots = np.where(np.eye(beam_size, dtype=bool), 0, -np.inf).astype(np.float32)

    def reorder(self, beam_origin: NDArray[np.int64]) -> None:
        self._ancestry = np.take_along_axis(self._ancestry, beam_origin[:, :, None], 1)

    def compaction_is_due(self, position: int) -> bool:
        return position % self._phase_steps == 0

    def keep(self, sentences: NDArray[np.int64]) -> None:
        self._ancestry = self._ancestry[sentences]

    def compact(self, position: int) -> dict[str, NDArray[np.int64]]:
        """Take dead slots out at the end of a phase; `chosen` [B', E'] are those that are left."""
        batch_size, _, slots = self._ancestry.shape
        chosen = np.broadcast_to(np.arange(slots), (batch_size, slots))
        if self.compaction_is_due(position):
            alive = (self._ancestry == 0).any(axis=1)  # [B', E]
            size = -(-int(alive.sum(axis=1).max()) // self._slot_alignment) * self._slot_alignment
            living_first = np.argsort(~alive, axis=1, kind="stable")[:, :size]
            chosen = np.pad(living_first, ((0, 0), (0, size - living_first.shape[1])))
            ancestry = np.take_along_axis(self._ancestry, chosen[:, None, :], 2)
            ancestry[:, :, slots:] = -np.inf  # what was padded
            self._ancestry = ancestry
        return {"chosen": np.ascontiguousarray(chosen, np.int64)}

    def input_of_step(self) -> NDArray[np.float32]:
        """The ancestry [B, K, E + K]: of the slots of this step, each beam has its own."""
        own_slots = np.broadcast_to(self._own_slots, (len(self._ancestry), *self._own_slots.shape))
        self._ancestry = np.concatenate([self._ancestry, own_slots], 2)
        return self._ancestry


class BeamOrigin:
    """Of SSRU's states, one per beam, which one each beam [B, K] goes on with."""

    input_name = "beam_origin"

    def __init__(self, batch_size: int, beam_size: int) -> None:
        self._origin = np.zeros((batch_size, beam_size), np.int64)

    def reorder(self, beam_origin: NDArray[np.int64]) -> None:
        self._origin = np.ascontiguousarray(beam_origin)

    def compaction_is_due(self, position: int) -> bool:
        return False

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Nothing to forget: the next step brings its own origins."""

    def compact(self, position: int) -> dict[str, NDArray[np.int64]]:
        return {}

    def input_of_step(self) -> NDArray[np.int64]:
        return self._origin


def _compaction_of(metadata: Mapping[str, str]) -> tuple[int, int]:
    """Steps between two compactions, and what the number of slots is rounded up to a multiple of.

    The export wrote both: with them, searching by steps gives the same bits as translate.onnx.
    """
    try:
        return int(metadata["compaction_steps"]), int(metadata["slot_alignment"])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"decoder.onnx does not say its compaction_steps and slot_alignment ({error}):"
            " export the model again"
        ) from error

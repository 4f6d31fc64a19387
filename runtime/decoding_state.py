"""A batch in the middle of decoding, step by step, over decoder.onnx.

What the decoder remembers and the encoder's outputs stay on the device as OrtValues; token ids go
in, and candidates or logits come out.

Shapes: B sentences, K beams, S source length, E cache slots, H heads, C head size, D d_model,
V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beam_order import BeamOrder, BeamOrigin, SlotAncestry
from .cancellation import Cancellation
from .candidates import Candidates
from .errors import ModelError
from .graph_session import GraphSession

_CANDIDATES = ("candidate_scores", "candidate_ids", "candidate_origins")


class DecodingState:
    """`search.Decoder` over the decoder graph.

    Args:
        decoder: the session that makes a step
        compact: the session that takes sentences and slots out of memory and cache
        device: where memory and cache lie
        memory: the encoder's outputs: OrtValues by name, [B, ...] each
        cache: what is remembered before the first step: OrtValues by name, past keys and values
            [B, H, 0, C], or past states [B, K, D]
        beam_size: K
        owner: kept only so that the buffers of `memory` are not freed
        cancellation: what may stop a step

    Raises:
        ModelError: the decoder does not say how its cache is compacted
    """

    def __init__(
        self,
        decoder: GraphSession,
        compact: GraphSession,
        device: str,
        *,
        memory: dict[str, Any],
        cache: dict[str, Any],
        beam_size: int,
        owner: Any = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._decoder = decoder
        self._cancellation = cancellation
        self._compact_session = compact
        self._device = device
        self._memory = memory
        self._cache = cache
        # Before onnxruntime 1.30 an output is a reference into its binding: the binding has to
        # live, with its outputs, as long as these are in use.
        self._memory_owner = self._cache_owner = owner
        self._bindings = (decoder.io_binding(), decoder.io_binding())
        batch_size = next(iter(cache.values())).shape()[0]
        self._batch_size = batch_size
        self._order: BeamOrder
        if next(iter(cache)).startswith("past_state"):
            self._order = BeamOrigin(batch_size, beam_size)
        else:
            self._order = SlotAncestry(batch_size, beam_size, decoder.metadata)
        self._position = 0
        self._kept: NDArray[np.int64] | None = None
        self._bind_memory()

    @property
    def memory(self) -> dict[str, NDArray[Any]]:
        """Copies of the encoder's outputs by name, for whoever wants to look at them."""
        return {name: value.numpy().copy() for name, value in self._memory.items()}

    @property
    def cache(self) -> dict[str, NDArray[Any]]:
        """Copies of what is remembered, by name: past keys and values [B, H, E, C], or past states
        [B, K, D]."""
        return {name: value.numpy().copy() for name, value in self._cache.items()}

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """Feed one token per beam [B, K]; see `search.Decoder.step`."""
        candidates = Candidates(*self._run(target_ids, beam_origin, scores, _CANDIDATES))
        batch_size, beam_size = target_ids.shape
        shapes = {values.shape for values in candidates}
        if shapes != {(batch_size, 2 * beam_size)} or not (
            np.all(candidates.ids >= 0)
            and np.all((candidates.origins >= 0) & (candidates.origins < beam_size))
        ):
            raise ModelError("decoder.onnx gave impossible candidates: export the model again")
        return candidates

    def step_logits(
        self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Feed one token per beam [B, K]; see `search.Decoder.step_logits`."""
        no_scores = np.zeros(target_ids.shape, np.float32)  # only the candidates depend on them
        (logits,) = self._run(target_ids, beam_origin, no_scores, ("logits",))
        by_beam: NDArray[np.float32] = logits.reshape(*target_ids.shape, -1)
        return by_beam

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Forget all sentences but these; see `search.Decoder.keep`."""
        self._order.keep(sentences)
        self._kept = sentences if self._kept is None else self._kept[sentences]

    def _run(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
        outputs: tuple[str, ...],
    ) -> list[NDArray[Any]]:
        """One step; returns copies of these outputs."""
        if self._position:
            self._order.reorder(beam_origin)
            if self._order.compaction_is_due(self._position) or self._kept is not None:
                self._compact()

        # Two bindings alternate: this one's outputs, two steps old, are no longer needed.
        binding = self._bindings[self._position % 2]
        binding.clear_binding_outputs()  # they have that step's shapes
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("target_ids", np.ascontiguousarray(target_ids))
        binding.bind_cpu_input("scores", np.ascontiguousarray(scores))
        binding.bind_cpu_input("position", np.array([self._position], np.int64))
        binding.bind_cpu_input(self._order.input_name, self._order.input_of_step())
        for name in outputs:
            binding.bind_output(name, "cpu")
        for name in self._cache:
            binding.bind_output(name.replace("past", "present"), self._device)
        self._decoder.run_bound(binding, self._cancellation)

        values = binding.get_outputs()
        presents = values[len(outputs) :]
        self._cache = dict(zip(self._cache, presents, strict=True))
        self._cache_owner = binding
        self._position += 1
        return [value.numpy().copy() for value in values[: len(outputs)]]

    def _compact(self) -> None:
        """Take sentences out of memory and cache, and at the end of a phase dead slots too."""
        kept = np.arange(self._batch_size) if self._kept is None else self._kept
        binding = self._compact_session.io_binding()
        for name, value in (*self._cache.items(), *self._memory.items()):
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("kept", np.ascontiguousarray(kept, np.int64))
        for name, indices in self._order.compact(self._position).items():
            binding.bind_cpu_input(name, indices)
        names = list(self._compact_session.outputs)
        for name in names:
            binding.bind_output(name, self._device)
        self._compact_session.run_bound(binding, self._cancellation)
        compacted = dict(zip(names, binding.get_outputs(), strict=True))
        self._cache = {name: compacted[f"compact_{name}"] for name in self._cache}
        self._memory = {name: compacted[f"compact_{name}"] for name in self._memory}
        self._memory_owner = self._cache_owner = binding
        self._batch_size, self._kept = len(kept), None
        self._bind_memory()

    def _bind_memory(self) -> None:
        for binding in self._bindings:
            for name, value in self._memory.items():
                binding.bind_ortvalue_input(name, value)

"""One variant of a model on one device: the whole search in one graph, or step by step.

`translate` runs translate.onnx, which searches by itself: one call, ids in and out. `encode` begins
a search in the caller's hands (runtime/search.py): caches and encoder outputs stay on the device
as OrtValues, token ids go in and the [B, 2K] candidates come out.

Shapes: B sentences, K beams, S source length, E entries of the cache, H heads, C head size.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .config import FileEntry, ModelConfig
from .device import CUDA_PROVIDER, Choice, choose, load_onnxruntime
from .errors import ModelError
from .search import Candidates, ScoredIds, SearchOptions

logger = logging.getLogger(__name__)

# How often the cache is compacted, here and in translate.onnx, so that both add up the same entries
# in the same order and give the same bits.
PHASE = 8  # steps between compactions
ALIGNMENT = 16  # entries; a whole number of vector registers, so that what a sentence's batch
# mates keep moves none of its own entries to another lane

_CANDIDATES = ("candidate_scores", "candidate_ids", "candidate_origins")


class Model:
    """One variant of a model folder on one device. Safe to use from many threads.

    Graphs are loaded when they are first needed, and then kept.

    Attributes:
        choice: the device and variant in use, and why
    """

    def __init__(
        self, folder: Path, config: ModelConfig, choice: Choice, intra_threads: int = 0
    ) -> None:
        """Take a given variant on a given device; `open` chooses them.

        Raises:
            ModelError: a file is missing or damaged, or onnxruntime cannot load a graph
        """
        if intra_threads < 0:
            raise ValueError(f"intra_threads is {intra_threads}: 0 (all cores) or more")
        self.choice = choice
        self._folder = folder
        self._config = config
        self._files = config.variants[choice.variant]
        self._intra_threads = intra_threads
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._files.weights.verify(folder)
        # One call for everything pays where calls are dear; on CUDA the many small operators of
        # the search are, so there the search runs on the CPU and the model on the device.
        self.searches_itself = choice.device == "cpu"
        self._session("translate" if self.searches_itself else "decoder")

    @classmethod
    def open(
        cls,
        folder: Path,
        config: ModelConfig,
        *,
        device: str = "auto",
        variant: str | None = None,
        intra_threads: int = 0,
    ) -> Self:
        """Choose device and variant, load them, and log which and why.

        Raises:
            ValueError: device is unknown
            ModelError: as `choose` and Model() say
        """
        providers = load_onnxruntime().get_available_providers()
        choice = choose(config.variants, providers, device=device, variant=variant)
        try:
            model = cls(folder, config, choice, intra_threads)
        except _NoCudaError as error:
            if device != "auto":
                raise
            logger.warning("%s; using the CPU", error)
            choice = choose(config.variants, providers, device="cpu", variant=variant)
            model = cls(folder, config, choice, intra_threads)
        logger.info("%s on %s: %s", choice.variant, choice.device, choice.reason)
        return model

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: SearchOptions,
        first_ids: NDArray[np.int64] | None = None,
    ) -> list[list[ScoredIds]]:
        """Search by the rules of runtime/search.py, in one call of translate.onnx.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            first_ids: for rule 8, [len(sources)], where languages.tagged is "both"

        Returns:
            for each sentence its hypotheses, best first

        Raises:
            ModelError: the model gave no finite score
        """
        tags = 0 if first_ids is None else 1
        inputs = {
            "source_ids": self._padded(sources),
            "beam_size": np.array(options.beam_size),
            "num_hypotheses": np.array(options.num_hypotheses),
            "max_length": np.array(options.max_length + tags),
            "length_penalty": np.array(options.length_penalty, np.float32),
        }
        if first_ids is not None:
            inputs["first_ids"] = first_ids
        ids, lengths, scores = self._session("translate").run(
            ["output_ids", "output_lengths", "output_scores"], inputs
        )
        if not np.all(scores[:, 0] > -np.inf):
            raise ModelError("the model gave no finite score: its weights may hold NaN")
        return [
            [
                ScoredIds(tuple(row[tags:length]), score)
                for row, length, score in zip(*hypotheses, strict=True)
                if score > -np.inf
            ]
            for hypotheses in zip(ids.tolist(), lengths.tolist(), scores.tolist(), strict=True)
        ]

    def encode(self, sources: Sequence[Sequence[int]], beam_size: int) -> "DecodingState":
        """Run the encoder and stand before the first step of decoding.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            beam_size: K of the search that follows
        """
        source_ids = self._padded(sources)
        encoder = self._session("encoder")
        names = [output.name for output in encoder.get_outputs()]
        binding = encoder.io_binding()
        binding.bind_cpu_input("source_ids", source_ids)
        for name in names:
            binding.bind_output(name, self.choice.device)
        encoder.run_with_iobinding(binding)
        return DecodingState(
            self._session("decoder"),
            self._session("compact"),
            self.choice.device,
            memory=dict(zip(names, binding.get_outputs(), strict=True)),
            cache=self._empty_cache(len(source_ids)),
            beam_size=beam_size,
        )

    def _padded(self, sources: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        longest = max(len(ids) for ids in sources)
        source_ids = np.full((len(sources), longest), self._config.special_ids.pad_id, np.int64)
        for row, ids in zip(source_ids, sources, strict=True):
            row[: len(ids)] = ids
        return source_ids

    def _empty_cache(self, batch_size: int) -> dict[str, Any]:
        inputs = {i.name: i.type for i in self._session("decoder").get_inputs()}
        dtype = np.float16 if inputs["past_key.0"] == "tensor(float16)" else np.float32
        heads = self._config.architecture.num_heads
        head_size = self._config.architecture.d_model // heads
        empty = np.empty((batch_size, heads, 0, head_size), dtype)
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy(empty, self.choice.device)
        return {name: value for name in inputs if name.startswith("past_")}

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                file: FileEntry = getattr(self._files, graph)
                path = file.verify(self._folder)
                self._sessions[graph] = _load(path, self.choice.device, self._intra_threads)
            return self._sessions[graph]


class DecodingState:
    """A batch in the middle of decoding: `search.Decoder` over the decoder graph.

    The cache belongs to sentences: every step appends K entries, and `history` [B, K, E] says
    which of them each beam descends from (0) and which not (-inf).

    Args:
        decoder: the session that makes a step
        compact: the session that takes sentences and entries out of memory and cache
        device: where memory and cache lie
        memory: the encoder's outputs: OrtValues by name, [B, ...] each
        cache: past keys and values: OrtValues by name, [B, H, E, C] each
        beam_size: K
    """

    def __init__(
        self,
        decoder: Any,
        compact: Any,
        device: str,
        *,
        memory: dict[str, Any],
        cache: dict[str, Any],
        beam_size: int,
    ) -> None:
        self._decoder = decoder
        self._binding = decoder.io_binding()
        self._compact_session = compact
        self._device = device
        self._memory = memory
        self._cache = cache
        batch_size = next(iter(cache.values())).shape()[0]
        self._history = np.zeros((batch_size, beam_size, 0), np.float32)
        self._itself = np.where(np.eye(beam_size, dtype=bool), 0, -np.inf).astype(np.float32)
        self._position = 0
        self._kept: NDArray[np.int64] | None = None
        self._bind_memory()

    @property
    def memory(self) -> dict[str, NDArray[Any]]:
        """Copies of the encoder's outputs by name, for whoever wants to look at them."""
        return {name: value.numpy() for name, value in self._memory.items()}

    @property
    def cache(self) -> dict[str, NDArray[Any]]:
        """Copies of the past keys and values by name, [B, H, E, C] each."""
        return {name: value.numpy() for name, value in self._cache.items()}

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """Feed one token per beam [B, K]; see `search.Decoder.step`."""
        if self._position:
            self._history = np.take_along_axis(self._history, beam_origin[:, :, None], 1)
            if self._position % PHASE == 0 or self._kept is not None:
                self._compact()
        itself = np.broadcast_to(self._itself, (len(target_ids), *self._itself.shape))
        self._history = np.concatenate([self._history, itself], 2)

        binding = self._binding
        binding.clear_binding_outputs()  # they have the previous step's shapes
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("target_ids", np.ascontiguousarray(target_ids))
        binding.bind_cpu_input("scores", np.ascontiguousarray(scores))
        binding.bind_cpu_input("position", np.array([self._position], np.int64))
        binding.bind_cpu_input("history", self._history)
        for name in _CANDIDATES:
            binding.bind_output(name, "cpu")
        for name in self._cache:
            binding.bind_output(name.replace("past", "present"), self._device)
        self._decoder.run_with_iobinding(binding)

        scores_out, ids, origins, *presents = binding.get_outputs()
        self._cache = dict(zip(self._cache, presents, strict=True))
        self._position += 1
        return Candidates(scores_out.numpy(), ids.numpy(), origins.numpy())

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Forget all sentences but these; see `search.Decoder.keep`."""
        self._history = self._history[sentences]
        self._kept = sentences if self._kept is None else self._kept[sentences]

    def _compact(self) -> None:
        """Take sentences out of memory and cache, and at the end of a phase dead entries too."""
        batch_size, _, entries = self._history.shape
        kept = np.arange(batch_size) if self._kept is None else self._kept
        chosen = np.broadcast_to(np.arange(entries), (batch_size, entries))
        if self._position % PHASE == 0:
            alive = (self._history == 0).any(axis=1)  # [B, E]
            size = -(-int(alive.sum(axis=1).max()) // ALIGNMENT) * ALIGNMENT
            living_first = np.argsort(~alive, axis=1, kind="stable")[:, :size]
            chosen = np.pad(living_first, ((0, 0), (0, size - living_first.shape[1])))
            history = np.take_along_axis(self._history, chosen[:, None, :], 2)
            history[:, :, entries:] = -np.inf  # what was padded
            self._history = history

        binding = self._compact_session.io_binding()
        for name, value in (*self._cache.items(), *self._memory.items()):
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("kept", np.ascontiguousarray(kept, np.int64))
        binding.bind_cpu_input("chosen", np.ascontiguousarray(chosen, np.int64))
        names = [output.name for output in self._compact_session.get_outputs()]
        for name in names:
            binding.bind_output(name, self._device)
        self._compact_session.run_with_iobinding(binding)
        found = dict(zip(names, binding.get_outputs(), strict=True))
        self._cache = {name: found[f"compact_{name}"] for name in self._cache}
        self._memory = {name: found[f"compact_{name}"] for name in self._memory}
        self._kept = None
        self._bind_memory()

    def _bind_memory(self) -> None:
        for name, value in self._memory.items():
            self._binding.bind_ortvalue_input(name, value)


class _NoCudaError(ModelError):
    """onnxruntime has its CUDA provider, but the machine lets it do nothing."""


def _load(path: Path, device: str, intra_threads: int) -> Any:
    ort = load_onnxruntime()
    state = ort.capi.onnxruntime_pybind11_state
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_threads  # 0: one for each physical core
    options.inter_op_num_threads = 1  # every graph is one chain: nothing runs side by side
    options.log_severity_level = 3  # errors only: warnings are about ORT, not about the text
    # Threads that spin between operators wake faster, but step by step they take the cores from
    # the code between the steps: 1.27 times slower for one sentence with 4 beams.
    spin = path.stem == "translate"
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # when the call ends
    cuda = device == "cuda"
    providers = [CUDA_PROVIDER, "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    # On CPU the fused operator is 2.5 to 6 times slower than Add and LayerNormalization.
    disabled = [] if cuda else ["SkipLayerNormFusion"]
    try:
        session = ort.InferenceSession(
            path, options, providers=providers, disabled_optimizers=disabled
        )
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    ) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"onnxruntime {ort.__version__} cannot load {path}: {reason}") from error
    if cuda and CUDA_PROVIDER not in session.get_providers():
        raise _NoCudaError("onnxruntime found no usable CUDA: check the driver with nvidia-smi")
    return session

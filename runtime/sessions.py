"""The ONNX Runtime sessions of one variant of a model on one device.

`translate` runs translate.onnx: the whole search in one call, ids in and out. `encode` returns a
DecodingState that search.search() advances token by token.
"""

import functools
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .config import FileEntry, ModelConfig
from .decoding_state import DecodingState
from .device import CUDA_PROVIDER, Choice, choose, load_onnxruntime
from .errors import ModelError
from .options import DecodingOptions
from .search import NO_FINITE_SCORE, ScoredIds

logger = logging.getLogger(__name__)

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


class Sessions:
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
            ValueError: intra_threads is negative
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
        self._session("translate" if choice.device == "cpu" else "decoder")

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
            ModelError: as `choose` and Sessions() say
        """
        providers = load_onnxruntime().get_available_providers()
        choice = choose(config.variants, providers, device=device, variant=variant)
        try:
            sessions = cls(folder, config, choice, intra_threads)
        except _NoCudaError as error:
            if device != "auto":
                raise
            logger.warning("%s; using the CPU", error)
            choice = choose(config.variants, providers, device="cpu", variant=variant)
            sessions = cls(folder, config, choice, intra_threads)
        logger.info("%s on %s: %s", choice.variant, choice.device, choice.reason)
        return sessions

    @property
    def graph_options(self) -> frozenset[str]:
        """Names of translate.onnx's optional inputs: the options that it carries out."""
        return frozenset(self._optional_inputs)

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        target_prefix: Sequence[int] = (),
    ) -> list[list[ScoredIds]]:
        """Search by the rules of search.py, in one call of translate.onnx.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            options: those that differ from their defaults are among `graph_options`
            target_prefix: ids that every translation begins with

        Returns:
            for each sentence its hypotheses, best first

        Raises:
            ModelError: the model gave no finite score
        """
        session = self._session("translate")
        feeds = {"source_ids": self._padded(sources), **self._option_feeds(options)}
        feeds["target_prefix"] = np.array([target_prefix], np.int64).reshape(1, -1)
        ids, lengths, scores = session.run(["output_ids", "output_lengths", "output_scores"], feeds)
        if not np.all(scores[:, 0] > -np.inf):
            raise ModelError(NO_FINITE_SCORE)
        return [
            [
                ScoredIds(tuple(row[:length]), score)
                for row, length, score in zip(*hypotheses, strict=True)
                if score > -np.inf
            ]
            for hypotheses in zip(ids.tolist(), lengths.tolist(), scores.tolist(), strict=True)
        ]

    def encode(self, sources: Sequence[Sequence[int]], beam_size: int) -> DecodingState:
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
            owner=binding,
        )

    def _option_feeds(self, options: DecodingOptions) -> dict[str, NDArray[Any]]:
        """Every option that the graph has an input for, as that input's tensor."""
        feeds = {}
        for name, dtype in self._optional_inputs.items():
            if name != "target_prefix":  # text among the options, ids in the graph
                value = getattr(options, name)
                if dtype is np.float32:
                    value = min(value, _LARGEST_FLOAT)
                feeds[name] = np.array(value, dtype)
        return feeds

    @functools.cached_property
    def _optional_inputs(self) -> dict[str, type[np.generic]]:
        """Name and element type of translate.onnx's optional inputs."""
        types: dict[str, type[np.generic]] = {
            "tensor(int64)": np.int64,
            "tensor(float)": np.float32,
        }
        optional = self._session("translate").get_overridable_initializers()
        return {value.name: types[value.type] for value in optional}

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


class _NoCudaError(ModelError):
    """onnxruntime has its CUDA provider, but the machine has no CUDA device that works."""


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

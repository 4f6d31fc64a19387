"""The two ONNX graphs of one variant: an encoder, and a decoder that makes one step.

Caches and encoder outputs stay on the device as OrtValues; only token ids go in and only
the [B, 2K] candidates come out.

Shapes: B sentences, K beams, N = B * K rows, S source length, T target length so far,
H heads, C head size.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .config import ModelConfig
from .device import CUDA_PROVIDER, Choice, choose, load_onnxruntime
from .errors import ModelError
from .search import Candidates

logger = logging.getLogger(__name__)

_CANDIDATES = ("candidate_scores", "candidate_ids", "candidate_origins")


class Model:
    """One variant of a model folder, loaded on one device. Safe to use from many threads.

    Attributes:
        choice: the device and variant in use, and why
    """

    def __init__(
        self, folder: Path, config: ModelConfig, choice: Choice, intra_threads: int = 0
    ) -> None:
        """Load a given variant on a given device; `open` chooses them.

        Raises:
            ModelError: a file is missing or damaged, or onnxruntime cannot load a graph
        """
        if intra_threads < 0:
            raise ValueError(f"intra_threads is {intra_threads}: 0 (all cores) or more")
        files = config.variants[choice.variant]
        files.weights.verify(folder)
        self.choice = choice
        self._config = config
        self._encoder = _load(files.encoder.verify(folder), choice.device, intra_threads)
        self._decoder = _load(files.decoder.verify(folder), choice.device, intra_threads)
        past = next(i for i in self._decoder.get_inputs() if i.name == "past_key.0")
        self._cache_dtype = np.float16 if past.type == "tensor(float16)" else np.float32

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

    def encode(self, sources: Sequence[Sequence[int]], beam_size: int) -> "DecodingState":
        """Run the encoder and stand before the first step of decoding.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            beam_size: K of the search that follows
        """
        longest = max(len(ids) for ids in sources)
        source_ids = np.full((len(sources), longest), self._config.special_ids.pad_id, np.int64)
        for row, ids in zip(source_ids, sources, strict=True):
            row[: len(ids)] = ids

        names = [output.name for output in self._encoder.get_outputs()]
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("source_ids", source_ids)
        for name in names:
            binding.bind_output(name, self.choice.device)
        self._encoder.run_with_iobinding(binding)
        memory = dict(zip(names, binding.get_outputs(), strict=True))
        return DecodingState(
            self._decoder,
            self.choice.device,
            memory,
            self._empty_cache(len(source_ids), beam_size),
        )

    def _empty_cache(self, batch_size: int, beam_size: int) -> dict[str, Any]:
        heads = self._config.architecture.num_heads
        head_size = self._config.architecture.d_model // heads
        empty = np.empty((batch_size * beam_size, heads, 0, head_size), self._cache_dtype)
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy(empty, self.choice.device)
        layers = range(self._config.architecture.decoder_layers)
        return {f"past_{part}.{i}": value for i in layers for part in ("key", "value")}


class DecodingState:
    """A batch in the middle of decoding: `search.Decoder` over the decoder graph.

    Args:
        session: the decoder graph
        device: where memory and cache lie
        memory: the encoder's outputs: OrtValues by name, [B, ...] each
        cache: past keys and values: OrtValues by name, [N, H, T, C] each
    """

    def __init__(
        self, session: Any, device: str, memory: dict[str, Any], cache: dict[str, Any]
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._device = device
        self._cache = cache
        self._bind_memory(memory)

    def _bind_memory(self, memory: dict[str, Any]) -> None:
        self._memory = memory
        for name, value in memory.items():
            self._binding.bind_ortvalue_input(name, value)

    @property
    def memory(self) -> dict[str, NDArray[Any]]:
        """Copies of the encoder's outputs by name, for whoever wants to look at them."""
        return {name: value.numpy() for name, value in self._memory.items()}

    @property
    def cache(self) -> dict[str, NDArray[Any]]:
        """Copies of the past keys and values by name, [N, H, T, C] each."""
        return {name: value.numpy() for name, value in self._cache.items()}

    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """Feed one token per row [N]; see `search.Decoder.step`."""
        binding = self._binding
        binding.clear_binding_outputs()  # they have the previous step's shapes
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("target_ids", np.ascontiguousarray(target_ids))
        binding.bind_cpu_input("beam_origin", np.ascontiguousarray(beam_origin))
        binding.bind_cpu_input("scores", np.ascontiguousarray(scores))
        for name in _CANDIDATES:
            binding.bind_output(name, "cpu")
        for name in self._cache:
            binding.bind_output(name.replace("past", "present"), self._device)
        self._session.run_with_iobinding(binding)

        scores_out, ids, origins, *presents = binding.get_outputs()
        self._cache = dict(zip(self._cache, presents, strict=True))
        return Candidates(scores_out.numpy(), ids.numpy(), origins.numpy())

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """Drop all other sentences from the memory; see `search.Decoder.keep`.

        The cache needs nothing: the next beam_origin leaves the dropped rows out.
        """
        from_numpy = load_onnxruntime().OrtValue.ortvalue_from_numpy
        self._bind_memory(
            {
                name: from_numpy(value.numpy()[sentences], self._device)
                for name, value in self._memory.items()
            }
        )


class _NoCudaError(ModelError):
    """onnxruntime has its CUDA provider, but the machine lets it do nothing."""


def _load(path: Path, device: str, intra_threads: int) -> Any:
    ort = load_onnxruntime()
    state = ort.capi.onnxruntime_pybind11_state
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_threads  # 0: one for each physical core
    options.inter_op_num_threads = 1  # both graphs are one chain: nothing runs side by side
    options.log_severity_level = 3  # errors only: warnings are about ORT, not about the text
    # Threads that spin after a step take the cores from the code between steps, and from
    # the other graph's threads: 1.27 times slower for one sentence with 4 beams.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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

"""The ONNX Runtime sessions of one variant of a model on one device.

`translate` runs translate.onnx or greedy.onnx: the whole search in one call, ids in and out.
`encode` returns a DecodingState that search.search() advances token by token. `score` runs
score.onnx over given targets.
"""

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import run_gate
from .cancellation import Cancellation
from .config import FileEntry, ModelConfig
from .cpu import choose_threads
from .cpu_load import CpuLoad
from .decode import TargetPrefix
from .decoding_state import DecodingState
from .device import Choice, choose, load_onnxruntime
from .errors import ModelError
from .graph_contract import check_graph
from .graph_session import GraphSession, NoCudaError
from .options import DecodingOptions
from .route import suits_greedy
from .search import NO_FINITE_SCORE, ScoredIds
from .workers import Workers, both

logger = logging.getLogger(__name__)

# Optional inputs of graphs that are no decoding options: target_prefix is text among these.
NOT_OPTIONS = frozenset(("target_prefix", "with_scores"))
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_CLOSED = "this translator is closed"
_SESSIONS: "weakref.WeakSet[Sessions]" = weakref.WeakSet()


class Sessions:
    """One variant of a model folder on one device. Safe to use from many threads.

    Graphs are loaded when they are first needed, and then kept.

    Attributes:
        choice: the device and variant in use, and why
        workers: the threads that may translate side by side
    """

    def __init__(
        self, folder: Path, config: ModelConfig, choice: Choice, intra_threads: int = 0
    ) -> None:
        """Take a given variant on a given device; `open` chooses them.

        Raises:
            ModelError: a file is missing or damaged, or onnxruntime cannot load a graph
            ValueError: intra_threads is negative
        """
        self.choice = choice
        self._folder = folder.absolute()  # of graphs that are loaded after a chdir()
        self._config = config
        self._files = config.variants[choice.variant]
        on_cpu = choice.device == "cpu"
        self._threads = choose_threads(intra_threads)
        # A graph on a CPU computes in the thread that calls it: see workers.py.
        self._graph_threads = 1 if on_cpu else self._threads
        load = None if intra_threads else CpuLoad()
        self.workers = Workers(self._threads if on_cpu else 1, load)
        self._graphs: dict[str, GraphSession] = {}
        self._searched_by: set[str] = set()  # the graphs that have searched
        # Of each graph that has searched the last options and their tensors: making these takes
        # as long as some steps of a small model.
        self._last_feeds: dict[str, tuple[DecodingOptions, dict[str, NDArray[Any]]]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._inside: list[int] = []  # identifiers of threads, one for each call
        _SESSIONS.add(self)
        by_default = "greedy" if self.has_greedy and suits_greedy(config.decoding) else "translate"
        both(
            partial(self._files.weights.verify, self._folder),
            partial(self._graph, by_default if on_cpu else "decoder"),
        )

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
        except NoCudaError as error:
            if device != "auto":
                raise
            logger.warning("%s; using the CPU", error)
            choice = choose(config.variants, providers, device="cpu", variant=variant)
            sessions = cls(folder, config, choice, intra_threads)
        logger.info("%s on %s: %s", choice.variant, choice.device, choice.reason)
        return sessions

    @property
    def threads(self) -> int:
        """How many threads compute, at most."""
        return self._threads

    def close(self) -> None:
        """Free the graphs, once the last `call` that has begun is over; nobody can begin."""
        self._closed = True
        self._free_if_over()

    def check_open(self) -> None:
        """Raise ValueError if the sessions are closed, unless this thread is in a `call`."""
        if self._closed and threading.get_ident() not in self._inside:
            raise ValueError(_CLOSED)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Within it one call of a translator goes on to its end, also if they are closed meanwhile.

        Raises:
            ValueError: they are closed
        """
        self.check_open()
        thread = threading.get_ident()
        self._inside.append(thread)  # without a lock, which a fork may find held
        try:
            yield
        finally:
            self._inside.remove(thread)
            self._free_if_over()

    def _free_if_over(self) -> None:
        if self._closed and not self._inside:
            with self._lock:
                self._graphs.clear()

    @property
    def graph_options(self) -> frozenset[str]:
        """Names of translate.onnx's optional inputs: the options that it carries out."""
        return frozenset(self._optional_inputs("translate"))

    @property
    def has_greedy(self) -> bool:
        """Whether the model has greedy.onnx; older exports have not."""
        return self._files.greedy is not None

    @property
    def has_score(self) -> bool:
        """Whether the model has score.onnx; older exports have not."""
        return self._files.score is not None

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        target_prefix: TargetPrefix = (),
        *,
        graph: str = "translate",
        with_scores: bool = True,
        cancellation: Cancellation | None = None,
    ) -> list[list[ScoredIds]]:
        """Search by the rules of search.py, in one call of a graph.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            options: those that differ from their defaults are among `graph_options`
            target_prefix: ids that every translation begins with, or of each sentence its own, all
                equally many
            graph: "translate", or "greedy" for what route.py says
            with_scores: greedy.onnx is faster without them; they are NaN then
            cancellation: what may stop the graph

        Returns:
            for each sentence its hypotheses, best first

        Raises:
            CancelledError: it was stopped
            ModelError: the model gave no finite score
        """
        self._searched_by.add(graph)
        feeds = {"source_ids": self._padded(sources), **self._option_feeds(graph, options)}
        prefix = np.array(target_prefix, np.int64)
        feeds["target_prefix"] = prefix if prefix.ndim == 2 else prefix[None]
        outputs = ("output_ids", "output_lengths", "output_scores")
        if graph == "greedy":
            feeds["with_scores"] = np.array(with_scores)
        ids, lengths, scores = self._graph(graph).run(outputs, feeds, cancellation)
        if not (
            ids.shape[:2] == lengths.shape == scores.shape
            and (len(ids), scores.ndim) == (len(sources), 2)
            and scores.size
            and np.all((lengths >= 0) & (lengths <= ids.shape[2]))
        ):
            raise ModelError(f"{graph}.onnx gave outputs of wrong shapes: export the model again")
        if not np.all(scores[:, 0] > -np.inf):
            raise ModelError(NO_FINITE_SCORE)
        if graph == "greedy" and not with_scores:
            scores = np.full_like(scores, np.nan)
        return [
            [
                ScoredIds(tuple(row[:length]), score)
                for row, length, score in zip(*hypotheses, strict=True)
                if score != -np.inf
            ]
            for hypotheses in zip(ids.tolist(), lengths.tolist(), scores.tolist(), strict=True)
        ]

    def encode(
        self,
        sources: Sequence[Sequence[int]],
        beam_size: int,
        cancellation: Cancellation | None = None,
    ) -> DecodingState:
        """Run the encoder and stand before the first step of decoding.

        Args:
            sources: source ids of each sentence, EOS included; padded here
            beam_size: K of the search that follows
            cancellation: what may stop the encoder, and later the steps
        """
        source_ids = self._padded(sources)
        encoder = self._graph("encoder")
        names = list(encoder.outputs)
        binding = encoder.io_binding()
        binding.bind_cpu_input("source_ids", source_ids)
        for name in names:
            binding.bind_output(name, self.choice.device)
        encoder.run_bound(binding, cancellation)
        return DecodingState(
            self._graph("decoder"),
            self._graph("compact"),
            self.choice.device,
            memory=dict(zip(names, binding.get_outputs(), strict=True)),
            cache=self._empty_cache(len(source_ids), beam_size),
            beam_size=beam_size,
            owner=binding,
            cancellation=cancellation,
        )

    def score(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[NDArray[np.float32]]:
        """Some outputs of score.onnx for pairs of source and target.

        Args:
            sources: source ids of each pair, EOS included; padded here
            targets: target ids of each pair, without BOS; padded here
            outputs: of log_probs [B, T], encoder_attention [L, B, H, S, S], decoder_attention
                [M, B, H, T, T], cross_attention [M, B, H, T, S]

        Raises:
            CancelledError: it was stopped
            ModelError: the model has no score.onnx
        """
        if not self.has_score:
            raise ModelError(
                f"{self._folder} has no score.onnx: an older tfm exported it; export it again"
            )
        feeds = {"source_ids": self._padded(sources), "target_ids": self._padded(targets)}
        results = self._graph("score").run(outputs, feeds, cancellation)
        pairs, length = feeds["target_ids"].shape
        source, shape = feeds["source_ids"].shape[1], self._config.architecture
        own = 0 if shape.decoder_autoregression == "ssru" else shape.decoder_layers
        expected = {
            "log_probs": (pairs, length),
            "encoder_attention": (shape.encoder_layers, pairs, shape.num_heads, source, source),
            "decoder_attention": (own, pairs, shape.num_heads, length, length),
            "cross_attention": (shape.decoder_layers, pairs, shape.num_heads, length, source),
        }
        if any(found.shape != expected[name] for name, found in zip(outputs, results, strict=True)):
            raise ModelError("score.onnx gave outputs of wrong shapes: export the model again")
        return results

    def _option_feeds(self, graph: str, options: DecodingOptions) -> dict[str, NDArray[Any]]:
        """Every option that the graph has an input for, as that input's tensor."""
        before, made = self._last_feeds.get(graph, (None, {}))
        if before == options:
            return made
        feeds = {}
        for name, dtype in self._optional_inputs(graph).items():
            if name not in NOT_OPTIONS:
                value = getattr(options, name)
                if dtype is np.float32:
                    value = min(value, _LARGEST_FLOAT)
                feeds[name] = np.array(value, dtype)
        self._last_feeds[graph] = (options, feeds)
        return feeds

    def _optional_inputs(self, graph: str) -> dict[str, type[np.generic]]:
        """Name and element type of a graph's optional inputs."""
        types: dict[str, type[np.generic]] = {
            "tensor(int64)": np.int64,
            "tensor(float)": np.float32,
            "tensor(bool)": np.bool_,
        }
        optional = self._graph(graph).optional_inputs
        return {name: types[tensor.type] for name, tensor in optional.items()}

    def _padded(self, sources: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        longest = max(len(ids) for ids in sources)
        source_ids = np.full((len(sources), longest), self._config.special_ids.pad_id, np.int64)
        for row, ids in zip(source_ids, sources, strict=True):
            row[: len(ids)] = ids
        return source_ids

    def _empty_cache(self, batch_size: int, beam_size: int) -> dict[str, Any]:
        """What the decoder remembers before the first step: no slots, or states of zeros."""
        inputs = self._graph("decoder").inputs
        names = [name for name in inputs if name.startswith("past_")]
        dtype = np.float16 if inputs[names[0]].type == "tensor(float16)" else np.float32
        shape = self._config.architecture
        if shape.decoder_autoregression == "ssru":
            empty = np.zeros((batch_size, beam_size, shape.d_model), dtype)
        else:
            head_size = shape.d_model // shape.num_heads
            empty = np.zeros((batch_size, shape.num_heads, 0, head_size), dtype)
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy(empty, self.choice.device)
        return dict.fromkeys(names, value)

    def _graph(self, name: str) -> GraphSession:
        """One of the graphs, loaded at first use.

        Raises:
            ModelError: its file is damaged, or it is not the graph that config.json describes
            ValueError: the sessions are closed
        """
        # The gate first: a fork then never finds the lock held by another thread.
        with run_gate.gate.run(), self._lock:
            if self._closed and not self._inside:  # threads that help a call may go on
                raise ValueError(_CLOSED)
            if name not in self._graphs:
                file: FileEntry | None = getattr(self._files, name)
                if file is None:
                    raise ValueError(f"the model has no {name}.onnx")
                path = file.verify(self._folder)
                weights = self._folder / self._files.weights.path
                self._free_what_never_searched()
                graph = GraphSession(path, weights, self.choice.device, self._graph_threads)
                check_graph(name, graph, path, self._config)
                self._graphs[name] = graph
            return self._graphs[name]

    def _free_what_never_searched(self) -> None:
        """Each graph packs weights of its own: the one that was loaded at the beginning, to find
        out whether it can be, goes if another turns out to be wanted."""
        for name in {"translate", "greedy"} & self._graphs.keys() - self._searched_by:
            del self._graphs[name]


def _begin_child() -> None:
    """In a child of os.fork() only the thread that forked is still in its call."""
    thread = threading.get_ident()
    for sessions in list(_SESSIONS):
        sessions._inside[:] = [other for other in sessions._inside if other == thread]


run_gate.call_in_child(_begin_child)

"""One ONNX graph in onnxruntime: loading it, running it, and what errors and forks do to it."""

import contextlib
import ctypes
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import run_gate
from .cancellation import Cancellation
from .config import utf8_path
from .device import CUDA_PROVIDER, load_onnxruntime, preload_cuda
from .errors import ModelError, TranslationError

NOT_ENOUGH_MEMORY = (
    "not enough memory to translate: lower beam_size, max_length or max_batch_tokens"
)
LONGEST_REASON = 200  # characters at either end
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "out of memory")
_LOADED: "weakref.WeakSet[GraphSession]" = weakref.WeakSet()


class NoCudaError(ModelError):
    """onnxruntime has its CUDA provider, but the machine has no CUDA device that works."""


class TensorInfo(NamedTuple):
    """An input or output of a graph.

    Attributes:
        type: as onnxruntime writes it, such as "tensor(int64)"
        shape: sizes; a dimension that varies is a name, or None
    """

    type: str
    shape: tuple[int | str | None, ...]


class GraphSession:
    """A graph that is loaded. Safe to use from many threads.

    A child of os.fork() can use it too: where it computes with more than one thread, which a
    child does not have, it is loaded again when it is next used.

    Attributes:
        inputs: those that must be given, by name
        optional_inputs: those that have a default value, by name
        outputs: by name, in their order
        metadata: what the export wrote into the graph
    """

    def __init__(self, path: Path, weights: Path, device: str, threads: int) -> None:
        """Load a graph.

        Args:
            path: the .onnx file
            weights: the file that has its weights, in the same folder
            device: "cpu" or "cuda"
            threads: that share each operator's work

        Raises:
            NoCudaError: device is "cuda", and none works
            ModelError: onnxruntime cannot load it
        """
        self._path, self._weights = path, weights
        self._device, self._threads = device, threads
        with run_gate.gate.run():
            self._session: Any = _load(path, weights, device, threads)
        self.inputs = _tensors(self._session.get_inputs())
        self.optional_inputs = _tensors(self._session.get_overridable_initializers())
        self.outputs = _tensors(self._session.get_outputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        _LOADED.add(self)

    def run(
        self,
        outputs: Sequence[str] | None,
        feeds: Mapping[str, Any],
        cancellation: Cancellation | None = None,
    ) -> list[Any]:
        """The outputs of these names (None is all), as numpy arrays.

        Raises:
            CancelledError: `cancellation` stopped it
            TranslationError: onnxruntime failed, out of memory for one
        """
        with run_gate.gate.run(), self._running(cancellation) as options:
            results: list[Any] = self._current().run(outputs, feeds, options)
            return results

    def io_binding(self) -> Any:
        """An onnxruntime.IOBinding for `run_bound`."""
        return self._current().io_binding()

    def run_bound(self, binding: Any, cancellation: Cancellation | None = None) -> None:
        """Run with the inputs and outputs that are bound.

        Raises:
            CancelledError: `cancellation` stopped it
            TranslationError: onnxruntime failed, out of memory for one
        """
        with run_gate.gate.run(), self._running(cancellation) as options:
            self._current().run_with_iobinding(binding, options)

    def _current(self) -> Any:
        session = self._session
        if session is None:  # in a child of os.fork(), at first use
            session = _load(self._path, self._weights, self._device, self._threads)
            self._session = session
        return session

    @contextlib.contextmanager
    def _running(self, cancellation: Cancellation | None) -> Iterator[Any]:
        """The onnxruntime.RunOptions of one run (None: the usual ones), and its errors as ours."""
        try:
            with (
                contextlib.nullcontext() if cancellation is None else cancellation.run() as options
            ):
                yield options
        except errors_of_onnxruntime() as error:
            if cancellation is not None:
                cancellation.check()
            text = str(error) or "out of memory"
            if isinstance(error, MemoryError) or any(t in text for t in _OUT_OF_MEMORY):
                raise TranslationError(NOT_ENOUGH_MEMORY) from error
            raise TranslationError(
                f"onnxruntime failed in {self._path}: {_reason(text)}"
            ) from error

    def _begin_child(self) -> None:
        if self._threads > 1 or self._device != "cpu":
            # Its end would wait for threads that do not exist here: it must never come.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None


def _begin_child() -> None:
    for session in list(_LOADED):
        session._begin_child()


run_gate.call_in_child(_begin_child)


def _tensors(values: Sequence[Any]) -> dict[str, TensorInfo]:
    return {value.name: TensorInfo(value.type, tuple(value.shape)) for value in values}


def _reason(text: str) -> str:
    """One short line of an error of onnxruntime, whose messages may be thousands of characters
    long: they name every value of a loop, and say at the end what is wrong."""
    line = " ".join(text.split())
    if len(line) > LONGEST_REASON:
        line = line[:LONGEST_REASON] + " ... " + line[-LONGEST_REASON:]
    return line if line.isprintable() else ascii(line)


def errors_of_onnxruntime() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: exceptions of its own, which have no common base, and Python's for
    a run with bindings, too little memory, and text that is not UTF-8."""
    state = load_onnxruntime().capi.onnxruntime_pybind11_state
    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.ModelLoaded,
        state.NoModel,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
        MemoryError,
        RuntimeError,
        UnicodeDecodeError,
    )


@contextlib.contextmanager
def _without_links(path: Path, weights: Path) -> Iterator[Path]:
    """The path of the graph, or of a copy beside a copy of its weights.

    onnxruntime refuses weights of a loop in a file with hard links or behind a symbolic link, but
    package managers and download caches link their files.
    """
    if not weights.is_symlink() and weights.stat().st_nlink == 1:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tfm-", ignore_cleanup_errors=True) as folder:
        for file in (path, weights):
            shutil.copyfile(file, Path(folder, file.name))
        yield Path(folder, path.name)


def _load(path: Path, weights: Path, device: str, threads: int) -> Any:
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    # A number, never onnxruntime's own choice: that counts processors which this process may not
    # use, and fails to pin threads to them.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # every graph is one chain: nothing runs side by side
    options.log_severity_level = 4  # errors are raised; warnings are about ORT, not about the text
    # Threads that spin while they wait take the cores from whatever else could run there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    cuda = device == "cuda"
    if cuda:
        preload_cuda()
    providers = [CUDA_PROVIDER, "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    # On CPU the fused operator is 2.5 to 6 times slower than Add and LayerNormalization.
    disabled = [] if cuda else ["SkipLayerNormFusion"]
    try:
        with _without_links(path, weights) as unlinked:
            session = ort.InferenceSession(
                utf8_path(unlinked),
                options,
                providers=providers,
                disabled_optimizers=disabled,
                enable_fallback=int(cuda),  # on a CPU it would only print, and try again
            )
    except OSError as error:
        raise ModelError(f"cannot copy {weights}, which is a link: {error.strerror}") from error
    except errors_of_onnxruntime() as error:
        reason = _reason(str(error) or "out of memory")
        raise ModelError(f"onnxruntime {ort.__version__} cannot load {path}: {reason}") from error
    if cuda and CUDA_PROVIDER not in session.get_providers():
        raise NoCudaError("onnxruntime found no usable CUDA: check the driver with nvidia-smi")
    return session

"""The checkpoint folder: what training writes, what export reads, what --resume continues from.

config.json  source.spm [target.spm]  recipe.toml
model.safetensors     the weights to export: best or average, whichever validates better
best.safetensors      the weights of the best validation
average.safetensors   the mean of the last validations' weights
last.safetensors      weights, Adam's moments and TrainingState: one file, so that an
                      interruption never leaves parts of two states
recent/               the weights that the average is made of
origin/               of an imported model: its own files, for `tfm convert` to write them again
validation.tsv        the pairs that validation translates, for the export to verify on
metrics.jsonl         one line per logged step and per validation
curves.png            the same to look at
samples.txt           what the last validation translated
tokens/               the training pairs as ids, see data/token_store.py
tensorboard/          the metrics for TensorBoard, if asked for
lock                  held by the training that writes the folder
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tfm.runtime.files.atomic import replace_file, write_text
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.studies.ablations import build_transformer

from .config import TransformerConfig, load_model_config
from .errors import TrainError
from .model import Transformer
from .training_state import TrainingState

CONFIG, MODEL, BEST = "config.json", "model.safetensors", "best.safetensors"
AVERAGE, LAST, RECENT = "average.safetensors", "last.safetensors", "recent"
RECIPE, METRICS, VALIDATION = "recipe.toml", "metrics.jsonl", "validation.tsv"
ORIGIN, CURVES, SAMPLES = "origin", "curves.png", "samples.txt"
TOKENS, TENSORBOARD, LOCK = "tokens", "tensorboard", "lock"

LARGEST_DIMENSION = 1 << 30

Weights = dict[str, Tensor]


class CheckpointFolder:
    """The paths of a checkpoint folder, and its files read and written as a whole.

    Nothing is read or made before a method is called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.recipe = path / CONFIG, path / RECIPE
        self.model, self.best, self.average = path / MODEL, path / BEST, path / AVERAGE
        self.last, self.recent, self.origin = path / LAST, path / RECENT, path / ORIGIN
        self.metrics, self.validation = path / METRICS, path / VALIDATION
        self.curves, self.samples = path / CURVES, path / SAMPLES
        self.tokens, self.tensorboard = path / TOKENS, path / TENSORBOARD

    def __str__(self) -> str:
        return str(self.path)

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder if need be, and keep other trainings out of it.

        The operating system holds the lock: it ends with this process, however that ends.

        Raises:
            TrainError: another training has it, or it cannot be made
        """
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise TrainError(
                f"another training is writing {self}: stop it first, or choose another folder"
            ) from error
        except OSError as error:
            raise TrainError(f"{self} cannot be made: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def load(self) -> tuple[Transformer, Vocabulary]:
        """Read the model to export, in evaluation mode, and its vocabulary.

        Raises:
            TrainError: a file is missing, damaged, or does not fit the others
        """
        config = self.read_config()
        vocabulary = Vocabulary.load(self.path)
        vocabulary.check(config)
        if not self.model.exists() and self.last.exists():
            raise TrainError(
                f"{self}: no {MODEL} yet: training has not reached its first validation"
            )
        return build_model(config, read_weights(self.model)).eval(), vocabulary

    def write(self, model: Transformer, vocabulary: Vocabulary) -> None:
        """Write what `load` reads, into a folder that is made where there is none."""
        self.path.mkdir(parents=True, exist_ok=True)
        vocabulary.save(self.path)
        write_weights(self.model, weights_of(model))
        self.write_config(model.config)  # last: a folder without it is no checkpoint

    def read_config(self) -> TransformerConfig:
        """Read config.json.

        Raises:
            TrainError: missing, not JSON, or not a model configuration
        """
        return load_model_config(self.config)

    def write_config(self, config: TransformerConfig) -> None:
        """Write config.json."""
        write_text(self.config, json.dumps(dataclasses.asdict(config), indent=2) + "\n")

    def write_validation(self, sources: list[str], targets: list[str]) -> None:
        """Write validation.tsv, source<TAB>target; a tab in a sentence becomes a space."""
        rows = zip(sources, targets, strict=True)
        lines = ("\t".join(side.replace("\t", " ") for side in row) + "\n" for row in rows)
        write_text(self.validation, "".join(lines))

    def save_state(
        self, model: Transformer, optimizer: torch.optim.Optimizer, state: TrainingState
    ) -> None:
        """Write last.safetensors: everything that an exact continuation needs."""
        tensors = {f"model.{name}": tensor for name, tensor in weights_of(model).items()}
        for index, moments in optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        write_weights(self.last, tensors, {"progress": json.dumps(dataclasses.asdict(state))})

    def read_state(self) -> TrainingState:
        """What last.safetensors says of where training stands.

        Raises:
            TrainError: last.safetensors is missing or damaged
        """
        try:
            with safe_open(self.last, framework="pt") as file:
                metadata = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise TrainError(f"{self.last}: damaged: {error}") from error
        if "progress" not in metadata:
            raise TrainError(
                f"{self.last}: holds no training state; it was not written by `tfm train`"
            )
        values = json.loads(metadata["progress"])
        values.setdefault("validated_step", values["step"])  # older states
        return TrainingState(**values)

    def restore_state(
        self, model: Transformer, optimizer: torch.optim.Optimizer | None
    ) -> TrainingState:
        """Give a model and its optimizer, if there is one, what save_state wrote.

        Raises:
            TrainError: last.safetensors is missing, damaged or of another model
        """
        tensors = read_weights(self.last)
        state = self.read_state()
        load_weights(
            model,
            {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")},
        )
        if optimizer is None:
            return state
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                # A copy: the file is mapped into memory, and Windows cannot replace such a file.
                moments.setdefault(int(index), {})[key] = tensor.clone()
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return state

    def add_recent(self, weights: Weights, step: int, count: int) -> Weights:
        """Add weights to recent/, remove all but the last `count`, and return their mean."""
        self.recent.mkdir(exist_ok=True)
        write_weights(self.recent / f"step-{step:08d}.safetensors", weights)
        paths = self._recent_paths()
        for path in paths[:-count]:
            path.unlink()
        return average([read_weights(path) for path in paths[-count:]])

    def drop_recent_after(self, step: int) -> None:
        """Remove from recent/ the weights of later steps."""
        for path in self._recent_paths():
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()

    def _recent_paths(self) -> list[Path]:
        return sorted(self.recent.glob("step-*.safetensors"))

    def clear(self) -> None:
        """Remove what a training left that ended before it saved a state."""
        for folder in (self.recent, self.origin, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        weights, others = (self.model, self.best, self.average), (self.curves, self.samples)
        for path in (*weights, *others, self.metrics, self.config):
            path.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[Transformer, Vocabulary]:
    """CheckpointFolder(folder).load()."""
    return CheckpointFolder(folder).load()


def write_checkpoint(folder: Path, model: Transformer, vocabulary: Vocabulary) -> None:
    """CheckpointFolder(folder).write(model, vocabulary)."""
    CheckpointFolder(folder).write(model, vocabulary)


def write_config(folder: Path, config: TransformerConfig) -> None:
    """CheckpointFolder(folder).write_config(config)."""
    CheckpointFolder(folder).write_config(config)


def weights_of(model: Transformer) -> Weights:
    """The state dict with tied matrices once."""
    seen: set[int] = set()
    weights: Weights = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            weights[name] = tensor.detach()
    return weights


def outline_of(config: TransformerConfig, tensors: int) -> Transformer:
    """The network of a configuration without memory for its weights, to compare shapes with.

    Args:
        tensors: how many there are to fill it

    Raises:
        TrainError: the sizes in config are absurd
    """
    for name in ("d_model", "d_ff", "source_vocab_size", "target_vocab_size"):
        if not 1 <= getattr(config, name) <= LARGEST_DIMENSION:
            raise TrainError(f"{name} is {getattr(config, name)}: choose 1 to {LARGEST_DIMENSION}")
    for name in ("encoder_layers", "decoder_layers"):
        if getattr(config, name) > tensors:
            raise TrainError(
                f"{name} is {getattr(config, name)}, and there are weights of fewer: {tensors}"
            )
    with torch.device("meta"):
        return build_transformer(config)


def build_model(config: TransformerConfig, weights: Mapping[str, Tensor]) -> Transformer:
    """The network of a configuration with these weights; it is built once they are known to fit.

    Raises:
        TrainError: names or shapes differ, or a weight is not a finite floating-point number
    """
    _check_fit(outline_of(config, len(weights)), weights)
    check_finite(weights)
    model = build_transformer(config)
    load_weights(model, weights)
    return model


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise TrainError where a weight is no floating-point number, NaN or infinite."""
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise TrainError(f"{name} has {kind} weights: floating-point numbers are needed")
        if not tensor.float().isfinite().all():
            raise TrainError(f"{name} has weights that are NaN or infinite")


def load_weights(model: Transformer, weights: Mapping[str, Tensor]) -> None:
    """Put weights from `weights_of` into a model of the same configuration.

    Raises:
        TrainError: names or shapes differ
    """
    _check_fit(model, weights)
    model.load_state_dict(weights, strict=False)


def _check_fit(model: Transformer, weights: Mapping[str, Tensor]) -> None:
    expected = {name: tensor.shape for name, tensor in weights_of(model).items()}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if expected != shapes:
        name = sorted(expected.items() ^ shapes.items())[0][0]
        raise TrainError(
            f"weights do not fit config.json: {name} differs; use files of one training"
        )


def read_weights(path: Path) -> Weights:
    """Raises TrainError when path is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: not found; is this a checkpoint written by `tfm train`?"
        ) from error
    except (OSError, SafetensorError) as error:
        raise TrainError(f"{path}: damaged: {error}") from error


def write_weights(path: Path, weights: Weights, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; path holds the old content or the new, never a part."""
    try:
        with replace_file(path) as partial:
            partial.touch()
            mode = partial.stat().st_mode  # what new files have here; safetensors' have 0600
            save_file({name: t.contiguous() for name, t in weights.items()}, partial, metadata)
            partial.chmod(mode)
    except SafetensorError as error:  # such as a full disk
        raise TrainError(f"{path}: cannot be written: {error}") from error


def average(checkpoints: list[Weights]) -> Weights:
    """The element-wise mean of several weights of one model."""
    return {
        name: torch.stack([w[name].float() for w in checkpoints]).mean(dim=0).to(first.dtype)
        for name, first in checkpoints[0].items()
    }

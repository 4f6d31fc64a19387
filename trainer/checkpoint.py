"""The checkpoint folder: what training writes, what export reads, what --resume continues from.

config.json  source.spm [target.spm]  recipe.toml
model.safetensors     the weights to export: best or average, whichever validates better
best.safetensors      the weights of the best validation
average.safetensors   the mean of the last validations' weights
last.safetensors      weights, Adam's moments and progress: one file, so that
                      an interruption can never leave halves of two states
recent/               the weights that the average is made of
origin/               of an imported model: its own files, for `tfm convert` to write them again
validation.tsv        the pairs that validation translates, for the export to verify on
metrics.jsonl         one line per logged step and per validation
curves.png            the same to look at
samples.txt           what the last validation translated
tokens/               the training pairs as ids, see tokens.py
tensorboard/          the metrics for TensorBoard, if asked for
lock                  held by the training that writes the folder
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

CONFIG, MODEL, BEST = "config.json", "model.safetensors", "best.safetensors"
AVERAGE, LAST, RECENT = "average.safetensors", "last.safetensors", "recent"
RECIPE, METRICS, VALIDATION = "recipe.toml", "metrics.jsonl", "validation.tsv"
ORIGIN, CURVES, SAMPLES = "origin", "curves.png", "samples.txt"
TOKENS, TENSORBOARD, LOCK = "tokens", "tensorboard", "lock"

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands. `batch` counts the batches of `epoch` that are used up."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_loss: float = float("inf")  # validation cross-entropy, nats per token
    best_step: int = 0
    exported_loss: float = float("inf")  # that of model.safetensors
    best_chrf: float = float("-inf")
    best_chrf_step: int = 0
    validated_step: int = 0  # the last one that was validated
    validation: str = ""  # the fingerprint of what it is validated on
    precision: str = ""  # that it began in
    initialized: bool = False  # from another checkpoint, by --init
    seconds: float = 0.0
    unlogged_loss: float = 0.0  # summed since the last line of metrics.jsonl, nats
    unlogged_tokens: int = 0

    def without_best(self) -> "Progress":
        """As if no validation had been the best yet: no figure of another corpus compares."""
        new = Progress()
        return dataclasses.replace(
            self,
            best_loss=new.best_loss,
            best_step=new.best_step,
            exported_loss=new.exported_loss,
            best_chrf=new.best_chrf,
            best_chrf_step=new.best_chrf_step,
        )


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and keep other trainings out of it.

    The operating system holds the lock: it ends with this process, however that ends.

    Raises:
        TrainError: another training has it, or it cannot be made
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainError(
            f"another training is writing {folder}: stop it first, or choose another folder"
        ) from error
    except OSError as error:
        raise TrainError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def load_checkpoint(folder: Path) -> tuple[Transformer, Vocabulary]:
    """Read the model to export, in evaluation mode, and its vocabulary.

    Raises:
        TrainError: a file is missing, damaged, or does not fit the others
    """
    config = load_model_config(folder / CONFIG)
    vocabulary = Vocabulary.load(folder)
    vocabulary.check(config)
    model = build_transformer(config)
    if not (folder / MODEL).exists() and (folder / LAST).exists():
        raise TrainError(f"{folder}: no {MODEL} yet: training has not reached its first validation")
    load_weights(model, read_weights(folder / MODEL))
    return model.eval(), vocabulary


def write_checkpoint(folder: Path, model: Transformer, vocabulary: Vocabulary) -> None:
    """Write what load_checkpoint reads, into a folder that is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(folder)
    write_weights(folder / MODEL, weights_of(model))
    write_config(folder, model.config)  # last: without it, nothing takes it for a checkpoint


def weights_of(model: Transformer) -> Weights:
    """The state dict with tied matrices once."""
    seen: set[int] = set()
    weights: Weights = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            weights[name] = tensor.detach()
    return weights


def load_weights(model: Transformer, weights: Mapping[str, Tensor]) -> None:
    """Put weights from `weights_of` into a model of the same configuration.

    Raises:
        TrainError: names or shapes differ
    """
    expected = {name: tensor.shape for name, tensor in weights_of(model).items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if expected != found:
        odd = sorted(expected.items() ^ found.items())[0][0]
        raise TrainError(
            f"weights do not fit config.json: {odd} differs; use files of one training"
        )
    model.load_state_dict(weights, strict=False)


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
            save_file({name: t.contiguous() for name, t in weights.items()}, partial, metadata)
    except SafetensorError as error:  # a full disk, for one
        raise TrainError(f"{path}: cannot be written: {error}") from error


def write_pairs(path: Path, sources: list[str], targets: list[str]) -> None:
    """Write sentence pairs as source<TAB>target lines; a tab within a sentence becomes a space."""
    rows = zip(sources, targets, strict=True)
    write_text(path, "".join("\t".join(s.replace("\t", " ") for s in row) + "\n" for row in rows))


def write_config(folder: Path, config: TransformerConfig) -> None:
    """Write config.json."""
    write_text(folder / CONFIG, json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def save_state(
    folder: Path, model: Transformer, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write last.safetensors: everything that an exact continuation needs."""
    tensors = {f"model.{name}": tensor for name, tensor in weights_of(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    metadata = {"progress": json.dumps(dataclasses.asdict(progress))}
    write_weights(folder / LAST, tensors, metadata)


def read_progress(folder: Path) -> Progress:
    """What last.safetensors says of where training stands.

    Raises:
        TrainError: last.safetensors is missing or damaged
    """
    path = folder / LAST
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise TrainError(f"{path}: damaged: {error}") from error
    if "progress" not in metadata:
        raise TrainError(f"{path}: holds no training state; it was not written by `tfm train`")
    progress = json.loads(metadata["progress"])
    progress.setdefault("validated_step", progress["step"])  # older states
    return Progress(**progress)


def restore_state(folder: Path, model: Transformer, optimizer: torch.optim.Optimizer) -> Progress:
    """Undo save_state.

    Raises:
        TrainError: last.safetensors is missing, damaged or of another model
    """
    tensors = read_weights(folder / LAST)
    progress = read_progress(folder)
    load_weights(
        model,
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")},
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            # A copy: the file is mapped, and Windows replaces no file that is.
            state.setdefault(int(index), {})[key] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return progress


def keep_recent(folder: Path, weights: Weights, step: int, count: int) -> Weights:
    """Add weights to recent/, keep the last `count` of them, and return their mean."""
    recent = folder / RECENT
    recent.mkdir(exist_ok=True)
    write_weights(recent / f"step-{step:08d}.safetensors", weights)
    kept = sorted(recent.glob("step-*.safetensors"))
    for path in kept[:-count]:
        path.unlink()
    return average([read_weights(path) for path in kept[-count:]])


def average(many: list[Weights]) -> Weights:
    """The element-wise mean of several weights of one model."""
    return {
        name: torch.stack([weights[name].float() for weights in many]).mean(dim=0).to(first.dtype)
        for name, first in many[0].items()
    }

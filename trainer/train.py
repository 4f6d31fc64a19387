"""The training loop: batches, steps, validation, checkpoints; stops and resumes exactly."""

import contextlib
import dataclasses
import logging
import math
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from . import checkpoint as files
from .config import ModelConfig, Recipe, TrainingRecipe, load_model_config
from .curves import draw_curves
from .data import EncodedText, ParallelText, read_corpora
from .errors import TrainError
from .evaluate import batch_loss, sample, score, translate, validation_loss
from .metrics import MetricsLog, drop_after
from .model import Transformer
from .optimization import build_optimizer, learning_rate, seed_noise
from .vocabulary import Vocabulary, train_vocabulary

logger = logging.getLogger(__name__)

FREE = {"dropout", "source_language", "target_language"}  # what --resume may change of a model


class Interrupted(Exception):
    """Training was asked to stop and has saved its state."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(step, signal_number)
        self.step, self.signal_number = step, signal_number


def train(
    recipe: Recipe, recipe_path: Path, folder: Path, *, resume: bool, init: Path | None = None
) -> files.Progress:
    """Train as the recipe says and leave a checkpoint in folder.

    Args:
        init: a checkpoint to begin from, unless there is something to resume. Its model and
            vocabulary are kept: of the recipe's [model] only dropout counts, and nothing of
            [vocabulary]

    Raises:
        TrainError: bad data, a folder that is in the way, a loss that is not a number
        Interrupted: SIGINT or SIGTERM came; everything is saved
    """
    _refuse(folder, init, resume=resume)
    resume = resume and (folder / files.LAST).exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{folder} cannot be made: {error.strerror}") from error
    base = recipe_path.parent
    text = read_corpora(recipe.data.train, base)
    validation = read_corpora([recipe.data.validation], base)
    initial = None  # what to begin with, if anything
    if resume:
        vocabulary = Vocabulary.load(folder)
    elif init is not None:
        initial, vocabulary = files.load_checkpoint(init)
    else:
        logger.info("training the vocabulary on %d pairs", len(text))
        vocabulary = train_vocabulary(*_vocabulary_sample(text, recipe), recipe.vocabulary)
    if initial is not None:
        config = _tuned(initial.config, recipe)
    elif resume and files.read_progress(folder).initialized:
        config = _tuned(load_model_config(folder / files.CONFIG), recipe)
    else:
        config = recipe.model.build(
            recipe.data,
            vocabulary.source.vocab_size(),
            vocabulary.target.vocab_size(),
            **vocabulary.special_ids,
        )
    trainer = Trainer(recipe, config, text, validation, vocabulary, folder)
    if resume:
        trainer.resume()
    else:
        if initial is not None:
            trainer.begin_with(initial)
        _clear(folder)
        vocabulary.save(folder)
        shutil.copyfile(recipe_path, folder / files.RECIPE)
        if init is not None and (init / files.ORIGIN).exists():
            shutil.copytree(init / files.ORIGIN, folder / files.ORIGIN)
        files.write_config(folder, config)
    del initial  # of no use any more, and large
    files.write_pairs(folder / files.VALIDATION, *trainer.validation_sample)
    return trainer.run()


def _refuse(folder: Path, init: Path | None, *, resume: bool) -> None:
    """Raise TrainError where training would overwrite what it cannot make again."""
    if init is not None and init.resolve() == folder.resolve():
        raise TrainError(f"--init and --out are both {folder}: choose another folder to write")
    if (folder / files.LAST).exists() and not resume:
        raise TrainError(
            f"{folder} already holds a training; continue it with --resume or choose another folder"
        )
    if (folder / files.CONFIG).exists() and not (folder / files.RECIPE).exists():
        raise TrainError(
            f"{folder} holds a model that was not trained there: choose another folder"
        )


def _tuned(config: ModelConfig, recipe: Recipe) -> ModelConfig:
    """The configuration of a model that others trained, as the recipe has it go on."""
    changes: dict[str, Any] = {"dropout": recipe.model.dropout}
    for side in ("source_language", "target_language"):
        language, unsaid = getattr(recipe.data, side), side.removesuffix("_language")
        if config.tagged != "none" and language != unsaid:
            if language not in config.language_tags:
                raise TrainError(
                    f"data.{side} is {language!r}, none of the model's languages: "
                    f"{', '.join(sorted(config.language_tags))}"
                )
            changes[side] = language
    return dataclasses.replace(config, **changes)


def _clear(folder: Path) -> None:
    """Remove what an earlier training left that never came to save its state."""
    for name in (files.RECENT, files.ORIGIN):
        shutil.rmtree(folder / name, ignore_errors=True)
    stale = (files.MODEL, files.BEST, files.AVERAGE, files.METRICS, files.CURVES, files.SAMPLES)
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def _vocabulary_sample(text: ParallelText, recipe: Recipe) -> tuple[list[str], list[str]]:
    """Pairs drawn by their weights, at most max_sentences of them."""
    generator = np.random.default_rng(recipe.training.seed)
    wanted = np.minimum(text.weights, 1.0)
    wanted *= min(1.0, recipe.vocabulary.max_sentences / wanted.sum())
    chosen = np.flatnonzero(generator.random(len(text)) < wanted)
    return [text.sources[i] for i in chosen], [text.targets[i] for i in chosen]


class Trainer:
    """One training: the model and everything that changes with it."""

    def __init__(
        self,
        recipe: Recipe,
        config: ModelConfig,
        text: ParallelText,
        validation: ParallelText,
        vocabulary: Vocabulary,
        folder: Path,
    ) -> None:
        self.recipe, self.vocabulary, self.folder = recipe, vocabulary, folder
        self.options = recipe.training
        self.device = _device(self.options)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"
        )
        torch.manual_seed(self.options.seed)
        self.model = Transformer(config).to(self.device)
        self.model.train()
        self.optimizer = build_optimizer(self.model, self.options)
        self.text = EncodedText(text, vocabulary, config, recipe.data.max_length)
        self.validation_text = EncodedText(validation, vocabulary, config)
        self.validation_sample = sample(validation, self.options.validation_max_sentences)
        if self.text.skipped:
            logger.info("%d pairs are over max_length and left out", self.text.skipped)
        self.progress = files.Progress()

    def begin_with(self, model: Transformer) -> None:
        """Take the weights of a model of the same configuration."""
        files.load_weights(self.model, files.weights_of(model))
        self.progress = files.Progress(initialized=True)

    def resume(self) -> None:
        """Continue from last.safetensors; metrics of steps after it are dropped.

        Raises:
            TrainError: the state is damaged or of another model
        """
        before = dataclasses.asdict(load_model_config(self.folder / files.CONFIG))
        for name, value in dataclasses.asdict(self.model.config).items():
            if name not in FREE and before[name] != value:
                raise TrainError(
                    f"{self.folder} was trained with {name} {before[name]}, not {value}: use that "
                    "recipe"
                )
        self.progress = files.restore_state(self.folder, self.model, self.optimizer)
        drop_after(self.folder / files.METRICS, self.progress.step)
        for path in (self.folder / files.RECENT).glob("step-*.safetensors"):
            if int(path.stem.removeprefix("step-")) > self.progress.step:
                path.unlink()

    def run(self) -> files.Progress:
        """Train to max_steps, or until stop_after_no_gain validations brought nothing."""
        stop = _StopSignals()
        started = time.perf_counter() - self.progress.seconds
        options = self.options
        log = MetricsLog(self.folder / files.METRICS, self.progress)
        groups = self._batch_groups()
        with (
            stop,
            tqdm(
                total=options.max_steps,
                initial=self.progress.step,
                unit="step",
                mininterval=1.0,
                dynamic_ncols=True,
            ) as bar,
        ):
            while self.progress.step < options.max_steps and not self._no_gain():
                epoch, batch, indices = next(groups)
                step = self.progress.step + 1
                rate = learning_rate(step, self.model.config.d_model, options)
                loss, tokens = self._step(indices, rate)
                self.progress = dataclasses.replace(
                    self.progress,
                    step=step,
                    epoch=epoch,
                    batch=batch,
                    seconds=time.perf_counter() - started,
                )
                bar.update()
                self.progress = log.add(self.progress, loss, tokens)
                if step % options.log_steps == 0 or step == options.max_steps:
                    line, self.progress = log.write(self.progress, rate)
                    bar.set_postfix_str(
                        f"loss {line['loss']:.3f}, {line['tokens_per_second']:.0f} tokens/s"
                    )
                if step % options.validate_steps == 0 or step == options.max_steps:
                    line = self._validate()
                    log.append(line)
                    draw_curves(self.folder / files.METRICS, self.folder / files.CURVES)
                    bar.write(_describe(line), file=bar.fp)
                    self.progress = dataclasses.replace(
                        self.progress, seconds=time.perf_counter() - started
                    )
                    files.save_state(self.folder, self.model, self.optimizer, self.progress)
                    log.restart_clock()
                if stop.number is not None:
                    files.save_state(self.folder, self.model, self.optimizer, self.progress)
                    raise Interrupted(step, stop.number)
        return self.progress

    def _batch_groups(self) -> Iterator[tuple[int, int, list[NDArray[np.int64]]]]:
        """accumulate_steps batches at a time, from where progress stands on, without end; with
        the epoch and the number of its batches used up after them."""
        epoch, used = self.progress.epoch, self.progress.batch
        count = self.options.accumulate_steps
        empty = 0
        while empty < 1000:  # a weight far below 1 can leave an epoch empty, not a thousand
            batches = self.text.epoch(self.options.seed, epoch, self.options.max_tokens)
            empty = 0 if batches else empty + 1
            for start in range(used, len(batches), count):
                group = batches[start : start + count]
                yield epoch, start + len(group), group
            epoch, used = epoch + 1, 0
        raise TrainError("1000 epochs without a pair: raise the weights of the corpora")

    def _step(self, indices: list[NDArray[np.int64]], rate: float) -> tuple[float, int]:
        """One update over a group of batches; returns summed loss in nats and target tokens."""
        batches = [self.text.batch(i) for i in indices]
        tokens = sum(int((self.text.target_lengths[i] - 1).sum()) for i in indices)
        total = 0.0
        for place, batch in enumerate(batches):
            seed_noise(self.options.seed, self.progress.step + 1, place)
            with self.autocast:
                loss, _ = batch_loss(
                    self.model,
                    batch.source_ids.to(self.device),
                    batch.target_ids.to(self.device),
                    self.options.label_smoothing,
                )
            (loss / tokens).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not math.isfinite(total):
            state = self.folder / files.LAST
            saved = f"the last state is in {state}" if state.exists() else "no state was saved yet"
            raise TrainError(
                f"the loss is {total} at step {self.progress.step + 1}: lower learning_rate or "
                f"raise warmup_steps; {saved}"
            )
        if self.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, tokens

    def _validate(self) -> dict[str, Any]:
        """Measure the current weights and the average, and write the better one for export."""
        step, options = self.progress.step, self.options
        current = files.weights_of(self.model)
        mean = files.keep_recent(self.folder, current, step, options.average_checkpoints)
        files.write_weights(self.folder / files.AVERAGE, mean)
        trial = Transformer(self.model.config).to(self.device)
        files.load_weights(trial, mean)

        loss = validation_loss(self.model, self.validation_text, options.max_tokens, self.autocast)
        average_loss = validation_loss(
            trial, self.validation_text, options.max_tokens, self.autocast
        )
        if loss < self.progress.best_loss:
            files.write_weights(self.folder / files.BEST, current)
            self.progress = dataclasses.replace(self.progress, best_loss=loss, best_step=step)
        better = self.model if loss < average_loss else trial
        if min(loss, average_loss) < self.progress.exported_loss:
            files.write_weights(self.folder / files.MODEL, files.weights_of(better))
            self.progress = dataclasses.replace(
                self.progress, exported_loss=min(loss, average_loss)
            )
        sources, references = self.validation_sample
        with self.autocast:
            outputs = translate(better, self.vocabulary, sources, options.validation_max_length)
        files.write_text(self.folder / files.SAMPLES, _samples(step, sources, references, outputs))
        scores = score(outputs, references)
        if scores.chrf > self.progress.best_chrf:
            self.progress = dataclasses.replace(
                self.progress, best_chrf=scores.chrf, best_chrf_step=step
            )
        return {
            "step": step,
            "validation_loss": loss,
            "average_loss": average_loss,
            **dataclasses.asdict(scores),
            "seconds": self.progress.seconds,
        }

    def _no_gain(self) -> bool:
        patience, progress = self.options.stop_after_no_gain, self.progress
        by_loss = self.options.stop_metric == "loss"
        best_step = progress.best_step if by_loss else progress.best_chrf_step
        if patience is None or best_step == 0:
            return False
        return (progress.step - best_step) // self.options.validate_steps >= patience


class _StopSignals(contextlib.AbstractContextManager["_StopSignals"]):
    """Turns SIGINT and SIGTERM into a flag, so that a step is never cut in half. A second SIGINT
    gets through at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


def _device(options: TrainingRecipe) -> torch.device:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise TrainError("device = 'cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    if options.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(options.device)


def _samples(step: int, sources: list[str], references: list[str], outputs: list[str]) -> str:
    """Every validation sentence of which an output was scored, for people to read."""
    rows = zip(sources, references, outputs, strict=True)
    texts = [f"source     {s}\nreference  {r}\noutput     {o}\n" for s, r, o in rows]
    return f"step {step}, greedy\n\n" + "\n".join(texts)


def _describe(line: dict[str, Any]) -> str:
    return (
        f"step {line['step']}: validation loss {line['validation_loss']:.4f} "
        f"(average {line['average_loss']:.4f}), BLEU {line['bleu']:.2f}, chrF {line['chrf']:.2f}"
    )

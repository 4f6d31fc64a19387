"""The training loop: batches, steps, validation, checkpoints; stops and resumes exactly."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from . import checkpoint as files
from .config import Recipe, load_model_config
from .corpora import read_corpora
from .curves import draw_curves
from .data import EncodedText
from .device import choose_device
from .errors import DivergedError, TrainError
from .evaluate import batch_loss, sample, score, translate, validation_loss
from .metrics import MetricsLog, drop_after
from .model import Transformer
from .optimization import build_optimizer, learning_rate, seed_noise
from .prepare import prepare
from .processes import Processes
from .stopping import Interrupted, StopSignals
from .tokens import open_tokens
from .vocabulary import Vocabulary

ALONE = Processes()


def train(
    recipe: Recipe,
    recipe_path: Path,
    folder: Path,
    *,
    resume: bool,
    init: Path | None = None,
    processes: Processes = ALONE,
    tensorboard: bool = False,
) -> files.Progress:
    """Train as the recipe says and leave a checkpoint in folder.

    Args:
        init: a checkpoint to begin from, unless there is something to resume. Its model and
            vocabulary are kept: of the recipe's [model] only dropout counts, and nothing of
            [vocabulary]
        processes: those that share the training; all see the same files
        tensorboard: write the metrics for TensorBoard too

    Raises:
        TrainError: bad data, a folder that is in the way, a loss that is not a number, a process
            of the training that ended
        Interrupted: SIGINT or SIGTERM came; everything is saved
    """
    if recipe.training.accumulate_steps < processes.count:
        raise TrainError(
            f"accumulate_steps is {recipe.training.accumulate_steps}, fewer than the "
            f"{processes.count} processes that share them: raise it or start fewer"
        )
    initial = None
    with processes.leader_first():
        if processes.leader:
            initial = prepare(recipe, recipe_path, folder, resume=resume, init=init)
    resume = processes.of_leader((folder / files.LAST).exists())
    trainer = Trainer(recipe, recipe_path, folder, processes)
    if resume:
        trainer.resume()
    elif initial is not None:
        trainer.begin_with(initial)
    del initial  # of no use any more, and large
    return trainer.run(tensorboard=tensorboard)


class Trainer:
    """One training: the model and everything that changes with it."""

    def __init__(
        self, recipe: Recipe, recipe_path: Path, folder: Path, processes: Processes = ALONE
    ) -> None:
        """Read what `prepare` left in folder."""
        self.recipe, self.folder, self.processes = recipe, folder, processes
        self.options = recipe.training
        config = load_model_config(folder / files.CONFIG)
        self.vocabulary = Vocabulary.load(folder)
        self.vocabulary.check(config)
        self.device = choose_device(self.options, processes.local_rank)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"
        )
        torch.manual_seed(self.options.seed)
        self.model = Transformer(config).to(self.device)
        self.model.train()
        if self.options.compile:
            for layer in (*self.model.encoder_layers, *self.model.decoder_layers):
                layer.compile(dynamic=True)
        self.optimizer = build_optimizer(self.model, self.options)
        self.text = open_tokens(folder / files.TOKENS, config)
        validation = read_corpora([recipe.data.validation], recipe_path.parent)
        self.validation_text = EncodedText.of(validation, self.vocabulary, config)
        self.validation_sample = sample(validation, self.options.validation_max_sentences)
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
        self.progress = files.restore_state(self.folder, self.model, self.optimizer)
        if self.processes.leader:
            drop_after(self.folder / files.METRICS, self.progress.step)
            for path in (self.folder / files.RECENT).glob("step-*.safetensors"):
                if int(path.stem.removeprefix("step-")) > self.progress.step:
                    path.unlink()

    def run(self, *, tensorboard: bool = False) -> files.Progress:
        """Train to max_steps, or until stop_after_no_gain validations brought nothing."""
        options, processes = self.options, self.processes
        processes.same_weights(list(self.model.state_dict().values()))
        self.progress = processes.of_leader(self.progress)
        started = time.perf_counter() - self.progress.seconds
        groups = self._batch_groups()
        with (
            StopSignals(echo=1.0 if processes.count > 1 else 0.0) as stop,
            MetricsLog(
                self.folder,
                self.progress,
                writes=processes.leader,
                tensorboard=tensorboard,
            ) as log,
            tqdm(
                total=options.max_steps,
                initial=self.progress.step,
                unit="step",
                mininterval=1.0,
                dynamic_ncols=True,
                disable=not processes.leader,
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
                    if processes.leader:
                        line = self._validate()
                        log.append(line)
                        draw_curves(self.folder / files.METRICS, self.folder / files.CURVES)
                        bar.write(_describe(line), file=bar.fp)
                        self.progress = dataclasses.replace(
                            self.progress, seconds=time.perf_counter() - started
                        )
                        files.save_state(self.folder, self.model, self.optimizer, self.progress)
                    self.progress = processes.of_leader(self.progress)
                    log.restart_clock()
                number = processes.largest(stop.number)
                if number:
                    if processes.leader:
                        files.save_state(self.folder, self.model, self.optimizer, self.progress)
                    processes.of_leader(None)  # or the others' end could look like a loss of them
                    raise Interrupted(step, number)
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
        step = self.progress.step + 1
        tokens = sum(int((self.text.target_lengths[i] - 1).sum()) for i in indices)
        total = 0.0
        for place, chosen in self.processes.share(indices):
            batch = self.text.batch(chosen)
            seed_noise(self.options.seed, step, place)
            with self.autocast:
                loss, _ = batch_loss(
                    self.model,
                    batch.source_ids.to(self.device),
                    batch.target_ids.to(self.device),
                    self.options.label_smoothing,
                )
            (loss / tokens).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        total = self.processes.add(total)
        if not math.isfinite(total):
            state = self.folder / files.LAST
            saved = f"the last state is in {state}" if state.exists() else "no state was saved yet"
            raise DivergedError(
                f"the loss is {total} at step {step}: lower learning_rate or "
                f"raise warmup_steps; {saved}",
                step,
            )
        parameters = list(self.model.parameters())
        self.processes.add_gradients(parameters)
        if self.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)
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
        scores = score(
            outputs,
            references,
            self.model.config.target_language,
            options.validation_tokenizer,
        )
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

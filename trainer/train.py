"""The training loop: batches, steps, validation, checkpoints; stops and resumes exactly."""

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from tfm.trainer.data.token_store import open_tokens
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.studies.ablations import build_transformer

from .checkpoint import CheckpointFolder, load_weights, weights_of
from .config import Recipe
from .curves import draw_curves
from .device import choose_device, is_out_of_memory
from .dropout import seed_dropout
from .errors import DivergedError, LocalError, TrainError
from .flops import peak_tflops, training_flops
from .loss import batch_loss
from .metrics import MetricsLog, drop_after
from .model import Transformer
from .optimizer import build_optimizer, learning_rate
from .prepare import in_precision, prepare, refuse_to_overwrite
from .processes import Processes, ProcessLostError
from .stopping import Interrupted, StopSignals
from .threads import ThreadWatch
from .training_state import TrainingState, is_over
from .validation import Validation, describe

logger = logging.getLogger(__name__)

ALONE = Processes()


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool,
    init: Path | None = None,
    new_vocabulary: bool = False,
    larger: bool = False,
    processes: Processes = ALONE,
    tensorboard: bool = False,
    threads: ThreadWatch | None = None,
) -> TrainingState:
    """Train as the recipe says and leave a checkpoint in folder.

    Args:
        recipe: what load_recipe returns: its text is copied into the folder
        init: a checkpoint to begin from, unless there is something to resume, with its model and
            vocabulary: of the recipe's [model] only dropout counts, and nothing of [vocabulary]
        new_vocabulary: all the same train the recipe's vocabulary (`transfer_vocabulary`)
        larger: all the same take the recipe's layers and d_ff (`grow`)
        processes: those that share the training; all see the same files
        tensorboard: write the metrics for TensorBoard too
        threads: changes the number of CPU threads where other programs slow them down; None leaves
            it alone

    Raises:
        TrainError: bad data, a folder that is in the way or that another training writes, a loss
            that is not a number, a process of the training that ended
        Interrupted: SIGINT or SIGTERM came; everything is saved
    """
    if recipe.training.accumulate_steps < processes.count:
        raise TrainError(
            f"accumulate_steps is {recipe.training.accumulate_steps}, fewer than the "
            f"{processes.count} processes that share them: raise it or start fewer"
        )
    _check_ablations(recipe.model.ablations, processes)
    with processes.together():  # before hours of tokenizing
        device = choose_device(recipe.training, processes.local_rank)
    checkpoint, initial = CheckpointFolder(folder), None
    with contextlib.ExitStack() as held:
        with processes.main_first():
            if processes.is_main:
                # Before claim(), which makes a lock file.
                refuse_to_overwrite(checkpoint, init, resume=resume)
                held.enter_context(checkpoint.claim())
                initial = prepare(
                    recipe,
                    checkpoint,
                    resume=resume,
                    init=init,
                    new_vocabulary=new_vocabulary,
                    larger=larger,
                )
        resume = processes.broadcast(checkpoint.last.exists())
        recipe = in_precision(recipe, checkpoint, device, processes, resume=resume)
        with processes.together():
            trainer = _trainer(recipe, checkpoint, device, processes)
            if resume:
                trainer.resume()
            elif initial is not None:
                trainer.begin_with(initial)
        del initial  # a whole model, needed no more
        return trainer.run(tensorboard=tensorboard, threads=threads)


def _trainer(
    recipe: Recipe, folder: CheckpointFolder, device: torch.device, processes: Processes
) -> "Trainer":
    try:
        return Trainer(recipe, folder, device, processes)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainError(f"the model does not fit into the memory of {device}") from error


def _check_ablations(ablations: Sequence[str], processes: Processes) -> None:
    if processes.count > 1 and "batch_norm" in ablations:
        raise TrainError("batch_norm keeps statistics of one process's batches: start one process")


class Trainer:
    """One training: the model and everything that changes with it."""

    def __init__(
        self,
        recipe: Recipe,
        folder: CheckpointFolder,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        """Read what `prepare` left in folder.

        Raises:
            TrainError: it is damaged, or what validation needs is not there
        """
        self.recipe, self.folder, self.processes = recipe, folder, processes
        self.options = recipe.training
        config = folder.read_config()
        # Again: the model of --init may have ablations that the recipe does not name.
        _check_ablations(config.ablations, processes)
        self.vocabulary = Vocabulary.load(folder.path)
        self.vocabulary.check(config)
        self.device = device
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"
        )
        torch.manual_seed(self.options.seed)
        self.model = build_transformer(config).to(self.device)
        self.model.train()
        if self.options.compile:
            for layer in (*self.model.encoder_layers, *self.model.decoder_layers):
                layer.compile(dynamic=True)
        self.optimizer = build_optimizer(self.model, self.options)
        self.text = open_tokens(folder.tokens, config)
        self.validation = Validation(recipe, folder, self.vocabulary, self.model, self.autocast)
        self.state = TrainingState(
            precision=self.options.precision,
            optimizer=self.options.optimizer,
            validation=self.validation.fingerprint,
            sample=self.validation.sample,
        )

    def begin_with(self, model: Transformer) -> None:
        """Take the weights of a model of the same configuration."""
        load_weights(self.model, weights_of(model))
        self.state.initialized = True

    def resume(self) -> None:
        """Continue from last.safetensors; metrics that came after it are dropped.

        Raises:
            TrainError: the state is damaged or of another model
        """
        same = self.folder.read_state().optimizer == self.options.optimizer
        if not same:
            logger.warning("another optimizer: its moments begin anew")
        self.state = self.folder.restore_state(self.model, self.optimizer if same else None)
        self.state.optimizer = self.options.optimizer
        if self.state.validation not in ("", self.validation.fingerprint):
            logger.warning("another validation corpus: what is best begins anew")
            self.state.forget_best()
            self.state.validate_again()  # else a finished one would keep no loss at all
        elif self.state.sample not in ("", self.validation.sample):
            logger.warning("another sample or length to translate: the best chrF begins anew")
            self.state.forget_best_chrf()
        self.state.validation = self.validation.fingerprint
        self.state.sample = self.validation.sample
        if self.processes.is_main:
            drop_after(self.folder.metrics, self.state.step, self.state.validated_step)
            self.folder.drop_recent_after(self.state.step)

    def run(
        self, *, tensorboard: bool = False, threads: ThreadWatch | None = None
    ) -> TrainingState:
        """Train to max_steps, or until stop_after_no_gain validations brought nothing."""
        options, processes = self.options, self.processes
        if self.device.type != "cpu" or processes.count > 1:
            threads = None
        processes.broadcast_weights(list(self.model.state_dict().values()))
        self.state = processes.broadcast(self.state)
        started = time.perf_counter() - self.state.seconds
        groups = self._batch_groups()
        peak = peak_tflops(self.device, options.precision)
        with (
            StopSignals(echo=1.0 if processes.count > 1 else 0.0) as stop,
            MetricsLog(
                self.folder,
                self.state,
                writes=processes.is_main,
                tensorboard=tensorboard,
                peak_tflops=None if peak is None else processes.count * peak,
            ) as log,
            tqdm(
                total=options.max_steps,
                initial=self.state.step,
                unit="step",
                mininterval=1.0,
                dynamic_ncols=True,
                disable=not processes.is_main,
            ) as bar,
            self._saved_where_lost(),
        ):
            while True:
                if self._validation_is_due():
                    with log.paused():
                        if processes.is_main:
                            self._validate(log, stop, bar)
                            self._seconds_since(started)
                            self._save()
                        self.state = processes.broadcast(self.state)
                number = processes.all_reduce_max(stop.number)
                if number:
                    self._save()
                    processes.broadcast(None)  # or the others' end could look like a loss of them
                    raise Interrupted(self.state.step, number)
                if is_over(self.state, options):
                    break
                epoch, batch, indices = next(groups)
                step = self.state.step + 1
                rate = learning_rate(step, self.model.config.d_model, options)
                loss, tokens, flops = self._watched_step(indices, rate, threads)
                self.state.step, self.state.epoch, self.state.batch = step, epoch, batch
                self._seconds_since(started)
                bar.update()
                log.add(self.state, loss, tokens, flops)
                if step % options.log_steps == 0 or step == options.max_steps:
                    line = log.write(self.state, rate)
                    bar.set_postfix_str(
                        f"loss {line['loss']:.3f}, {line['tokens_per_second']:.0f} tokens/s"
                    )
        return self.state

    def _batch_groups(self) -> Iterator[tuple[int, int, list[NDArray[np.int64]]]]:
        """accumulate_steps batches at a time, from where training stands, without end; with
        the epoch and the number of its batches used up after them."""
        epoch, used = self.state.epoch, self.state.batch
        count = self.options.accumulate_steps
        empty = 0
        while empty < 1000:  # a weight far below 1 can leave an epoch empty, not a thousand
            batches = self.text.epoch(self.options.seed, epoch, self.options.max_tokens)
            empty = 0 if batches else empty + 1
            for start in range(used, len(batches), count):
                group = batches[start : start + count]
                yield epoch, start + len(group), group
            epoch, used = epoch + 1, 0
        self._save()
        raise TrainError(
            f"no pair in 1000 epochs from epoch {epoch - empty} on: raise the weights of the "
            "corpora, or until_epoch"
        )

    def _watched_step(
        self, indices: list[NDArray[np.int64]], rate: float, threads: ThreadWatch | None
    ) -> tuple[float, int, int]:
        if threads is None:
            return self._step(indices, rate)
        threads.begin_step()
        loss, tokens, flops = self._step(indices, rate)
        threads.end_step(self.state.step + 1, flops)
        return loss, tokens, flops

    def _step(self, indices: list[NDArray[np.int64]], rate: float) -> tuple[float, int, int]:
        """One update over a group of batches; returns summed loss in nats, target tokens, FLOPs."""
        step = self.state.step + 1
        drawn = np.concatenate(indices)
        targets = self.text.target_lengths[drawn] - 1
        tokens = int(targets.sum())
        losses = [torch.zeros((), device=self.device)]
        try:
            for index, pairs in self.processes.shard(indices):
                losses.append(self._backward(pairs, step, index, tokens))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._save()  # nothing of this step is in the weights yet
            raise LocalError(
                f"the batch of step {step} does not fit into the memory of {self.device}: lower "
                "max_tokens, and raise accumulate_steps as much for the same updates"
            ) from error
        total = self.processes.all_reduce_sum(float(torch.stack(losses).double().sum()))
        if not math.isfinite(total):
            raise self._diverged("loss", total, step)
        parameters = list(self.model.parameters())
        self.processes.all_reduce_gradients(parameters)
        if self.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        flops = training_flops(self.model.config, self.text.source_lengths[drawn], targets)
        return total, tokens, flops

    def _backward(
        self, pairs: NDArray[np.int64], step: int, index: int, tokens: int
    ) -> torch.Tensor:
        """Add a batch's part of the gradient; returns its summed loss as a tensor, because a
        number would have to wait for the device."""
        batch = self.text.batch(pairs)
        seed_dropout(self.options.seed, step, index)
        with self.autocast:
            loss, _ = batch_loss(
                self.model,
                batch.source_ids,
                batch.target_ids,
                self.options.label_smoothing,
            )
        (loss / tokens).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _validation_is_due(self) -> bool:
        step, options = self.state.step, self.options
        on_time = step % options.validate_steps == 0 or step >= options.max_steps
        return on_time and step > self.state.validated_step

    def _validate(self, log: MetricsLog, stop: StopSignals, bar: "tqdm[Any]") -> None:
        """Validate, unless a signal comes: then the next run does it, from the state saved.

        Raises:
            DivergedError: the loss is NaN or infinite; the last state stays
        """
        try:
            loss = self.validation.loss(self.model)
            if not math.isfinite(loss):
                raise self._diverged("validation loss", loss, self.state.step)
            if not self.folder.last.exists():
                self._save()  # first: weights without a state could not be continued
            line = self.validation.run(self.state, loss, lambda: bool(stop.number))
        except DivergedError:
            raise
        except BaseException:  # whatever failed, it must not cost the steps since the last state
            self._save()
            raise
        if line is None:
            return
        log.append(line)
        try:
            draw_curves(self.folder.metrics, self.folder.curves)
        except OSError as error:  # such as a viewer that holds the file, on Windows
            logger.warning("%s: not drawn: %s", self.folder.curves, error)
        bar.write(describe(line), file=bar.fp)

    def _save(self) -> None:
        """Write the state, where this process is the one that writes."""
        if self.processes.is_main:
            self.folder.save_state(self.model, self.optimizer, self.state)

    def _seconds_since(self, started: float) -> None:
        self.state.seconds = time.perf_counter() - started

    @contextlib.contextmanager
    def _saved_where_lost(self) -> Iterator[None]:
        """Save the state when another process ends, which is noticed before weights change."""
        try:
            yield
        except ProcessLostError:
            self._save()
            raise

    def _diverged(self, what: str, value: float, step: int) -> DivergedError:
        state = self.folder.last
        saved = f"the last state is in {state}" if state.exists() else "no state was saved yet"
        return DivergedError(
            f"the {what} is {value} at step {step}: lower learning_rate or raise warmup_steps; "
            f"{saved}",
            step,
        )

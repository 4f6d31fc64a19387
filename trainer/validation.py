"""A validation: losses, BLEU and chrF of the current weights and of the average, and the files
that the better ones become."""

import copy
import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tfm.runtime.files.atomic import write_text
from tfm.trainer.data.batches import EncodedText, pad
from tfm.trainer.data.corpora import read_corpora
from tfm.trainer.data.vocabulary import Vocabulary

from .bleu import bleu_metric, score, tokenizer_for
from .checkpoint import CheckpointFolder, load_weights, weights_of, write_weights
from .config import Recipe
from .loss import batch_loss
from .model import Transformer
from .training_state import TrainingState


class Validation:
    """What every validation of a training needs."""

    def __init__(
        self,
        recipe: Recipe,
        folder: CheckpointFolder,
        vocabulary: Vocabulary,
        model: Transformer,
        autocast: torch.autocast,
    ) -> None:
        """`fingerprint` tells one corpus from another, `sample` what of it chrF is of.

        Raises:
            TrainError: the corpus cannot be read, or BLEU's tokenizer is not installed
        """
        self._folder, self._vocabulary, self._model = folder, vocabulary, model
        self._options, self._autocast = recipe.training, autocast
        text = read_corpora([recipe.data.validation])
        self._text = EncodedText.of(text, vocabulary, model.config)
        self.fingerprint = _fingerprint(text.sources, text.targets)
        self._sources, self._references = text.sample(self._options.validation_max_sentences)
        most = self._options.validation_max_length
        self.sample = f"{_fingerprint(self._sources, self._references)}, max_length {most}"
        # Raises now what the first validation would raise.
        bleu_metric(self._options.validation_tokenizer or tokenizer_for(self._language))

    @property
    def _language(self) -> str:
        return self._model.config.target_language

    def loss(self, model: Transformer) -> float:
        """Cross-entropy without smoothing, nats per target token."""
        return validation_loss(model, self._text, self._options.max_tokens, self._autocast)

    def run(
        self, state: TrainingState, loss: float, stopped: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """Measure the current weights and the average, and write the files that they improve.

        Until the end the state is left alone, so that a validation that was stopped or failed can
        be repeated.

        Args:
            loss: of the current weights
            stopped: asked between the parts of the work

        Returns:
            the line of metrics; None if it was stopped
        """
        step, folder = state.step, self._folder
        current = weights_of(self._model)
        mean = folder.add_recent(current, step, self._options.average_checkpoints)
        write_weights(folder.average, mean)
        trial = copy.deepcopy(self._model)
        load_weights(trial, mean)
        if stopped():
            return None
        average_loss = self.loss(trial)
        if stopped():
            return None
        if loss < state.best_loss:
            write_weights(folder.best, current)
        better = self._model if loss < average_loss else trial
        if min(loss, average_loss) < state.exported_loss:
            write_weights(folder.model, weights_of(better))
        outputs = self._translate(better, stopped)
        if stopped():
            return None
        write_text(folder.samples, self._samples(step, outputs))
        tokenizer = self._options.validation_tokenizer
        scores = score(outputs, self._references, self._language, tokenizer)
        state.record_validation(loss, average_loss, scores.chrf)
        return {
            "step": step,
            "validation_loss": loss,
            "average_loss": average_loss,
            **dataclasses.asdict(scores),
            "seconds": state.seconds,
        }

    def _translate(self, model: Transformer, stopped: Callable[[], bool]) -> list[str]:
        most = self._options.validation_max_length
        with self._autocast:
            return translate(model, self._vocabulary, self._sources, most, stopped=stopped)

    def _samples(self, step: int, outputs: list[str]) -> str:
        """Every sentence of which an output was scored, for people to read."""
        rows = zip(self._sources, self._references, outputs, strict=True)
        texts = [f"source     {s}\nreference  {r}\noutput     {o}\n" for s, r, o in rows]
        return f"step {step}, greedy\n\n" + "\n".join(texts)


@torch.no_grad()
def validation_loss(
    model: Transformer, text: EncodedText, max_tokens: int, autocast: torch.autocast
) -> float:
    """Cross-entropy without smoothing, nats per target token."""
    model.eval()
    total, tokens = 0.0, 0
    for indices in text.in_order(max_tokens):
        batch = text.batch(indices)
        with autocast:
            loss, count = batch_loss(model, batch.source_ids, batch.target_ids, 0.0)
        total, tokens = total + float(loss), tokens + count
    model.train()
    return total / tokens


def translate(
    model: Transformer,
    vocabulary: Vocabulary,
    sentences: list[str],
    max_length: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Greedy translations, in the order of the sentences; once `stopped`, the rest are empty."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    sources = vocabulary.encode_source(sentences, model.config)
    order = np.argsort([len(ids) for ids in sources], kind="stable")
    outputs = [""] * len(sentences)
    for start in range(0, len(order), 64):
        if stopped():
            break
        indices = order[start : start + 64]
        source_ids = pad([sources[i] for i in indices], model.config.pad_id).to(device)
        for i, ids in zip(indices, model.greedy(source_ids, max_length), strict=True):
            outputs[i] = vocabulary.decode_target(ids)
    model.train(training)
    return outputs


def _fingerprint(sources: list[str], targets: list[str]) -> str:
    lines = "\n".join(f"{s}\t{t}" for s, t in zip(sources, targets, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def describe(line: dict[str, Any]) -> str:
    """A line of metrics for people to read while they wait."""
    return (
        f"step {line['step']}: validation loss {line['validation_loss']:.4f} "
        f"(average {line['average_loss']:.4f}), BLEU {line['bleu']:.2f}, chrF {line['chrf']:.2f}"
    )

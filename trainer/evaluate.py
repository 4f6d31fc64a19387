"""Validation: loss per token, and BLEU and chrF of greedy translations."""

from dataclasses import dataclass

import numpy as np
import sacrebleu
import torch
from torch import Tensor

from .data import EncodedText, ParallelText, pad
from .model import Transformer
from .optimization import projected_cross_entropy
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Scores:
    """Corpus scores 0 to 100 with the signatures that say how they were computed."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def batch_loss(
    model: Transformer, source_ids: Tensor, target_ids: Tensor, smoothing: float
) -> tuple[Tensor, int]:
    """Summed loss of a batch, in nats, and the number of target tokens it is over.

    Args:
        source_ids: [B, S]
        target_ids: [B, T + 1], from BOS to EOS, then padding
    """
    memory, source_bias = model.encode(source_ids)
    hidden = model.decode(target_ids[:, :-1], memory, source_bias)
    labels = target_ids[:, 1:]
    real = labels != model.config.pad_id
    loss = projected_cross_entropy(
        hidden[real], model.projection.weight, model.projection.bias, labels[real], smoothing
    )
    return loss, int(real.sum())


@torch.no_grad()
def validation_loss(
    model: Transformer, text: EncodedText, max_tokens: int, autocast: torch.autocast
) -> float:
    """Cross-entropy without smoothing, nats per target token."""
    model.eval()
    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    for indices in text.in_order(max_tokens):
        batch = text.batch(indices)
        with autocast:
            loss, count = batch_loss(
                model, batch.source_ids.to(device), batch.target_ids.to(device), 0.0
            )
        total, tokens = total + float(loss), tokens + count
    model.train()
    return total / tokens


def translate(
    model: Transformer, vocabulary: Vocabulary, sentences: list[str], max_length: int
) -> list[str]:
    """Greedy translations, in the order of the sentences."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    sources = vocabulary.encode_source(sentences, model.config)
    order = np.argsort([len(ids) for ids in sources], kind="stable")
    outputs = [""] * len(sentences)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        source_ids = pad([sources[i] for i in chosen], model.config.pad_id).to(device)
        for i, ids in zip(chosen, model.greedy(source_ids, max_length), strict=True):
            outputs[i] = vocabulary.decode_target(ids)
    model.train(training)
    return outputs


def score(hypotheses: list[str], references: list[str]) -> Scores:
    """sacrebleu's BLEU and chrF with its default settings."""
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    return Scores(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def sample(text: ParallelText, count: int) -> tuple[list[str], list[str]]:
    """At most `count` pairs, spread evenly over the text."""
    chosen = np.unique(np.linspace(0, len(text) - 1, min(count, len(text))).astype(int))
    return [text.sources[i] for i in chosen], [text.targets[i] for i in chosen]

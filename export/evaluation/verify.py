"""Compare the variants of a model folder, run by the runtime, with PyTorch.

float32 must equal PyTorch: every output within TENSOR_TOLERANCE, and greedy and beam search token
for token on real sentences, where only a tie that rounding decides may differ. A quantized
variant must translate nearly alike (chrF of its text against PyTorch's) and must give a sentence
the same tokens alone as in a batch.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sacrebleu import CHRF
from torch import Tensor, nn

from tfm.export.graphs.trace import layer_names
from tfm.export.quantization.tune import Quality
from tfm.export.quantization.variants import open_to_check
from tfm.export.torch_reference import VERIFICATION, torch_greedy, torch_search
from tfm.runtime import Translator
from tfm.runtime.search import ScoredIds
from tfm.trainer.bleu import Scores, score
from tfm.trainer.data.batches import pad
from tfm.trainer.data.vocabulary import Vocabulary
from tfm.trainer.model import Transformer
from tfm.trainer.ssru import SSRU

logger = logging.getLogger(__name__)

TENSOR_TOLERANCE = 1e-3  # largest difference of a float32 output; 1e-5 is usual
TIE = 1e-4  # log-probabilities closer than this may change places by rounding
LEAST_CHRF = 75.0  # of a quantized variant's translations against PyTorch's
LEAST_UNCHANGED = 0.9  # share of sentences that a preview in fp32 leaves as they were
LEAST_INVARIANT = 0.98  # share of sentences with the same tokens alone and in a batch


@dataclass(frozen=True, slots=True)
class Agreement:
    """Token-for-token comparison: sentences compared, equal, and different only by a tie."""

    sentences: int
    equal: int
    ties: int


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What was measured of one variant; `failures` is empty when it passed."""

    max_abs_diff: dict[str, float]
    greedy: Agreement
    beam: Agreement
    alone_equals_batched: float  # share of sentences
    chrf_against_torch: float  # beam search, 100 = the same text
    scores: Scores | None  # beam search against the references, where there are any
    failures: list[str]
    quality: Quality | None = None  # on the development set, where there is one


def verify_folder(
    model: Transformer,
    vocabulary: Vocabulary,
    folder: Path,
    variants: Sequence[str],
    sentences: Sequence[str],
    references: Sequence[str] | None,
    tokenize: str | None = None,
) -> dict[str, VariantReport]:
    """Compare every variant of a model folder with the PyTorch model it came from.

    Args:
        model: in evaluation mode, float32
        sentences: real source sentences; more than a few, of different lengths
        references: their translations, for BLEU and chrF, or None
        tokenize: the name of sacrebleu's tokenizer for BLEU; None is the target language's
    """
    sources = vocabulary.encode_source(sentences, model.config)
    expected_greedy = torch_greedy(model, sources)
    expected_beam = torch_search(model, sources)
    expected_texts = [vocabulary.decode_target(best[0].ids) for best in expected_beam]
    reports = {}
    for variant in variants:
        logger.info("verifying %s on %d sentences", variant, len(sentences))
        translator = open_to_check(folder, variant)
        listed = translator.config.shortlist != "none"
        exact = variant == "fp32" and not listed
        differences = tensor_differences(model, translator, sources)
        found_greedy = translator.translate_ids(sources, VERIFICATION, beam_size=1)
        # From text to text, so that the runtime's own tokenizer is part of what is compared.
        translations = translator.translate_batch(sentences, VERIFICATION, placeholders=None)
        best = [translation.hypotheses[0] for translation in translations]
        found_beam = [[ScoredIds(hypothesis.tokens, hypothesis.score)] for hypothesis in best]
        # One sentence at a time, without batch mates or padding.
        alone = translator.translate_ids(sources, VERIFICATION, max_batch_tokens=1)
        same = [a[0].ids == b[0].ids for a, b in zip(alone, found_beam, strict=True)]
        texts = [hypothesis.text for hypothesis in best]
        report = VariantReport(
            max_abs_diff=differences,
            greedy=_compare_greedy(model, sources, expected_greedy, found_greedy),
            beam=_compare_beam(expected_beam, found_beam),
            alone_equals_batched=sum(same) / len(same),
            chrf_against_torch=CHRF().corpus_score(texts, [expected_texts]).score,
            scores=None
            if references is None
            else score(texts, references, model.config.target_language, tokenize),
            failures=[],
        )
        failures = _failures(report, exact)
        if variant == "fp32" and translator.config.shortlist == "preview":
            failures += _failures_of_preview(report)
        reports[variant] = dataclasses.replace(report, failures=failures)
    return reports


def _failures(report: VariantReport, exact: bool) -> list[str]:
    failures = []
    if exact:
        for name, difference in report.max_abs_diff.items():
            if not difference <= TENSOR_TOLERANCE:  # NaN fails too
                failures.append(f"{name} differs from PyTorch by {difference:.2g}")
        for what, agreement in (("greedy", report.greedy), ("beam", report.beam)):
            different = agreement.sentences - agreement.equal - agreement.ties
            if different:
                failures.append(f"{what} gives other tokens than PyTorch for {different} sentences")
    elif report.chrf_against_torch < LEAST_CHRF:
        failures.append(
            f"translations are too far from PyTorch's: chrF {report.chrf_against_torch:.1f}, "
            f"at least {LEAST_CHRF} wanted"
        )
    if report.alone_equals_batched < LEAST_INVARIANT:
        failures.append(
            f"only {report.alone_equals_batched:.1%} of the sentences have the same tokens alone "
            "as in a batch"
        )
    return failures


def _failures_of_preview(report: VariantReport) -> list[str]:
    """Those of fp32 with a preview, which alone makes its translations differ."""
    share = report.beam.equal / report.beam.sentences
    if share >= LEAST_UNCHANGED:
        return []
    return [f"the shortlist leaves only {share:.1%} of the translations as they were"]


@torch.no_grad()
def tensor_differences(
    model: Transformer, translator: Translator, sources: Sequence[Sequence[int]]
) -> dict[str, float]:
    """The largest absolute difference of every graph output against PyTorch.

    Over batches of 1 and of several sentences, padded and not, at the first step (empty cache)
    and later ones; the decoder is fed the same tokens on both sides.
    """
    worst: dict[str, float] = {}
    by_length = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for chosen in ([by_length[-1]], by_length[:: max(1, len(by_length) // 5)]):
        for name, ours, theirs in _pairs(model, translator, [sources[i] for i in chosen]):
            difference = float(np.max(np.abs(ours - theirs), initial=0.0))
            worst[name] = float(np.maximum(worst.get(name, 0.0), difference))  # keeps NaN
    return worst


def _pairs(
    model: Transformer, translator: Translator, sources: Sequence[Sequence[int]]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """(output, runtime's values, PyTorch's values), at real positions only."""
    config = model.config
    layers = config.decoder_layers
    source_ids = pad(sources, config.pad_id)
    memory, bias = model.encode(source_ids)
    # greedy prefixes, so that the tokens fed are ones that the model would see
    target_ids = pad(
        [[*config.target_prefix, *ids[:4]] for ids in model.greedy(source_ids, 4)], config.eos_id
    )
    with _remembered(model) as remembered:
        hidden = model.decode(target_ids, memory, bias)
    log_probs = model.next_log_probs(hidden)

    state = translator.sessions.encode(sources, beam_size=1)
    encoded = state.memory
    heads = (config.num_heads, -1)
    for layer, (name_key, name_value) in enumerate(_paired(layer_names("cross", layers))):
        attention = model.decoder_layers[layer].cross_attention
        key = torch.unflatten(attention.k_proj(memory), 2, heads).transpose(1, 2)
        value = torch.unflatten(attention.v_proj(memory), 2, heads).transpose(1, 2)
        real = torch.isfinite(bias).transpose(2, 3)
        yield name_key, *_masked(encoded[name_key], key, real)
        yield name_value, *_masked(encoded[name_value], value, real)
    finite = torch.where(torch.isfinite(bias), bias, -1.0).numpy()
    source_bias = encoded["source_bias"]
    yield "source_bias", np.where(np.isfinite(source_bias), source_bias, -1.0), finite

    scores = np.zeros((len(sources), 1), np.float32)
    same_beam = np.zeros((len(sources), 1), np.int64)
    for step in range(target_ids.shape[1]):
        candidates = state.step(target_ids[:, step : step + 1].numpy(), same_beam, scores)
        theirs = log_probs[:, step].gather(1, torch.from_numpy(candidates.ids))
        yield "candidate_scores", candidates.scores, theirs.numpy()
        best = log_probs[:, step].topk(2, dim=1).values
        yield "candidate_scores", candidates.scores, best.numpy()
    for name, ours in state.cache.items():
        yield name.replace("past", "present"), ours, remembered[name].numpy()

    written = target_ids[:, 1:]  # target_prefix begins with BOS
    (ours,) = translator.sessions.score(sources, written.tolist(), ["log_probs"])
    given = model.projection(hidden[:, :-1]).log_softmax(dim=-1)
    yield "log_probs", ours, given.gather(2, written[:, :, None])[:, :, 0].numpy()


def _masked(
    ours: NDArray[np.float32], theirs: Tensor, real: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both arrays with zeros at padding, whose values do not matter."""
    keep = real.numpy()
    return np.where(keep, ours, 0.0), np.where(keep, theirs.numpy(), 0.0)


@contextmanager
def _remembered(model: Transformer) -> Iterator[dict[str, Tensor]]:
    """Record what the layers of a decoder would have to remember of the tokens that it reads: by
    name of the decoder graph's input, keys and values [B, H, T, C] or the last states [B, 1, D]."""
    recorded: dict[str, Tensor] = {}
    heads = (model.config.num_heads, -1)
    hooks = []
    for index, layer in enumerate(model.decoder_layers):
        if layer.is_recurrent:

            def record_state(
                module: SSRU, args: Any, _output: Tensor, name: str = f"past_state.{index}"
            ) -> None:
                recorded[name] = module.states(args[0])[:, -1:]

            hooks.append(layer.ssru.register_forward_hook(record_state))
            continue
        attention = layer.self_attention
        for kind, projection in (("key", attention.k_proj), ("value", attention.v_proj)):

            def record(
                _module: nn.Module, _args: Any, output: Tensor, name: str = f"past_{kind}.{index}"
            ) -> None:
                recorded[name] = torch.unflatten(output, 2, heads).transpose(1, 2)

            hooks.append(projection.register_forward_hook(record))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def _compare_greedy(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    expected: list[list[int]],
    results: list[list[ScoredIds]],
) -> Agreement:
    equal = ties = 0
    for source, theirs, hypotheses in zip(sources, expected, results, strict=True):
        ours = list(hypotheses[0].ids)
        equal += ours == theirs
        ties += ours != theirs and _is_tie(model, source, theirs, ours)
    return Agreement(len(sources), equal, ties)


@torch.no_grad()
def _is_tie(model: Transformer, source: Sequence[int], theirs: list[int], ours: list[int]) -> bool:
    """Whether PyTorch finds the first tokens that differ equally probable, up to rounding."""
    config = model.config
    theirs, ours = [*theirs, config.eos_id], [*ours, config.eos_id]
    index = next(i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b)
    prefix = torch.tensor([[*config.target_prefix, *theirs[:index]]])
    logits = model(pad([source], config.pad_id), prefix)[0, -1]
    return abs(float(logits[theirs[index]] - logits[ours[index]])) < TIE


def _compare_beam(expected: list[list[ScoredIds]], results: list[list[ScoredIds]]) -> Agreement:
    equal = ties = 0
    for theirs, ours in zip(expected, results, strict=True):
        same = theirs[0].ids == ours[0].ids
        equal += same
        ties += not same and abs(theirs[0].score - ours[0].score) < TIE
    return Agreement(len(expected), equal, ties)


def _paired(names: list[str]) -> list[tuple[str, str]]:
    return list(zip(names[::2], names[1::2], strict=True))

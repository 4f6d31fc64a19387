"""Greedy and beam search with PyTorch, without a cache: the reference for verification."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfm.runtime.candidates import Candidates
from tfm.runtime.decode import decode
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds
from tfm.runtime.token_texts import TokenTexts
from tfm.trainer.data.batches import pad
from tfm.trainer.model import Transformer

# How verification searches.
BEAM_SIZE = 4
MAX_LENGTH = 100
VERIFICATION = DecodingOptions(beam_size=BEAM_SIZE, max_length=MAX_LENGTH)


def torch_greedy(model: Transformer, sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Greedy output of the PyTorch model, in batches of similar length."""
    outputs: list[list[int]] = [[] for _ in sources]
    for indices in _by_length(sources):
        batch = pad([sources[i] for i in indices], model.config.pad_id)
        for i, ids in zip(indices, model.greedy(batch, MAX_LENGTH), strict=True):
            outputs[i] = ids
    return outputs


def torch_search(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions = VERIFICATION,
    target_prefix: Sequence[int] = (),
    token_texts: Callable[[], TokenTexts] | None = None,
) -> list[list[ScoredIds]]:
    """Beam search over the PyTorch model, which decodes every prefix anew, without a cache."""
    outputs: list[list[ScoredIds]] = [[] for _ in sources]
    for indices, results in search_batches(model, sources, options, target_prefix, token_texts):
        for i, hypotheses in zip(indices, results, strict=True):
            outputs[i] = hypotheses
    return outputs


def search_batches(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    options: DecodingOptions,
    target_prefix: Sequence[int] = (),
    token_texts: Callable[[], TokenTexts] | None = None,
) -> Iterator[tuple[list[int], list[list[ScoredIds]]]]:
    """`torch_search` batch by batch: indices in sources, and the hypotheses of each.

    Args:
        target_prefix: ids that every translation begins with, after a language's token
        token_texts: returns what target tokens say, which suppress_texts needs
    """
    for indices in _by_length(sources):
        batch = [sources[i] for i in indices]
        results = decode(
            TorchDecoder(model, batch),
            batch,
            options,
            bos_id=model.config.bos_id,
            eos_id=model.config.eos_id,
            unk_id=model.config.unk_id,
            token_texts=token_texts,
            target_prefix=[*model.config.target_language_ids, *target_prefix],
        )
        yield indices, results


class TorchDecoder:
    """The PyTorch model as a decoder for the runtime's search: the uncached reference."""

    def __init__(self, model: Transformer, sources: Sequence[Sequence[int]]) -> None:
        self._model = model
        with torch.no_grad():
            self._memory, self._bias = model.encode(pad(sources, model.config.pad_id))
        self._prefixes: Tensor | None = None

    @torch.no_grad()
    def step(
        self,
        target_ids: NDArray[np.int64],
        beam_origin: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Candidates:
        """See `tfm.runtime.search.Decoder.step`."""
        logits = self._logits(target_ids, beam_origin)
        log_probs = logits.log_softmax(dim=-1)
        totals = (log_probs + torch.from_numpy(scores).unsqueeze(2)).flatten(1)
        values, best = totals.topk(2 * scores.shape[1], dim=1)
        vocab_size = log_probs.shape[2]
        return Candidates(values.numpy(), (best % vocab_size).numpy(), (best // vocab_size).numpy())

    @torch.no_grad()
    def step_logits(
        self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `tfm.runtime.search.Decoder.step_logits`."""
        logits: NDArray[np.float32] = self._logits(target_ids, beam_origin).numpy()
        return logits

    def _logits(self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]) -> Tensor:
        """[B, K, V], -inf for tokens that the model never writes."""
        beams = target_ids.shape[1]
        newest = torch.from_numpy(target_ids).unsqueeze(2)  # [B, K, 1]
        if self._prefixes is None:
            self._prefixes = newest
        else:
            inherited = torch.from_numpy(beam_origin).unsqueeze(2).expand_as(self._prefixes)
            self._prefixes = torch.cat((self._prefixes.gather(1, inherited), newest), 2)
        memory = self._memory.repeat_interleave(beams, 0)
        bias = self._bias.repeat_interleave(beams, 0)
        last = self._model.decode(self._prefixes.flatten(0, 1), memory, bias)[:, -1]
        return torch.unflatten(self._model.next_logits(last), 0, target_ids.shape)

    def keep(self, sentences: NDArray[np.int64]) -> None:
        """See `tfm.runtime.search.Decoder.keep`."""
        kept = torch.from_numpy(sentences)
        self._memory, self._bias = self._memory[kept], self._bias[kept]
        if self._prefixes is not None:
            self._prefixes = self._prefixes[kept]


def _by_length(sources: Sequence[Sequence[int]], size: int = 32) -> Iterator[list[int]]:
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]

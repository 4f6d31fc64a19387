"""Random lexical shortlists, and PyTorch searching with one: the rule, one token at a time."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfm.export.torch_reference import TorchDecoder
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds, search
from tfm.trainer.config import TransformerConfig
from tfm.trainer.data.shortlist import Shortlist
from tfm.trainer.model import Transformer


def random_shortlist(config: TransformerConfig, *, always: int = 9, most: int = 6) -> Shortlist:
    """Lists of 0 to `most` random tokens; none for padding."""
    generator = np.random.default_rng(1)
    size = config.target_vocab_size
    common = {config.eos_id, *generator.integers(4, size, always).tolist()}
    lists = [
        sorted(set(generator.integers(4, size, generator.integers(0, most + 1)).tolist()) - common)
        for _ in range(config.source_vocab_size)
    ]
    lists[config.pad_id] = []
    return Shortlist(
        always=np.array(sorted(common)),
        starts=np.cumsum([0, *map(len, lists)]),
        targets=np.array([token for row in lists for token in row], np.int64),
        vocabulary="",
    )


def allowed(shortlist: Shortlist, sources: list[list[int]]) -> list[set[int]]:
    """The tokens of each sentence, by the words of the rule."""
    targets, starts = shortlist.targets.tolist(), shortlist.starts.tolist()
    return [
        set(shortlist.always.tolist()).union(*(targets[starts[i] : starts[i + 1]] for i in ids))
        for ids in sources
    ]


class MaskedDecoder(TorchDecoder):
    """PyTorch's logits, -inf where a token is not in the sentence's list."""

    def __init__(self, model: Transformer, sources: list[list[int]], shortlist: Shortlist) -> None:
        super().__init__(model, sources)
        self._allowed = allowed(shortlist, sources)

    def _logits(self, target_ids: NDArray[np.int64], beam_origin: NDArray[np.int64]) -> Tensor:
        logits = super()._logits(target_ids, beam_origin)
        masked = torch.full_like(logits, -torch.inf)
        for row, tokens in enumerate(self._allowed):
            for token in tokens:
                masked[row, :, token] = logits[row, :, token]
        return masked

    def keep(self, sentences: NDArray[np.int64]) -> None:
        super().keep(sentences)
        self._allowed = [self._allowed[i] for i in sentences]


def masked_search(
    model: Transformer,
    sources: list[list[int]],
    shortlist: Shortlist,
    options: DecodingOptions,
) -> list[list[ScoredIds]]:
    """What a model with the shortlist must find."""
    config = model.config
    return search(
        MaskedDecoder(model, sources, shortlist),
        len(sources),
        options,
        bos_id=config.bos_id,
        eos_id=config.eos_id,
    )

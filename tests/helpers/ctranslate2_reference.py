"""The trainer's weights in CTranslate2: an engine that shares no code with ours."""

from collections.abc import Sequence
from pathlib import Path

import ctranslate2

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.trainer.model import Transformer

Hypotheses = list[tuple[tuple[int, ...], float]]


class Reference:
    """CTranslate2 in float32 over the weights of a Transformer."""

    def __init__(self, model: Transformer, folder: Path) -> None:
        write_ctranslate2(model, folder)
        self._translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type="float32", intra_threads=1
        )

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        *,
        beam_size: int,
        num_hypotheses: int,
        length_penalty: float,
        max_length: int,
    ) -> list[Hypotheses]:
        """(ids, score) of each hypothesis, best first; sources end in EOS."""
        results = self._translator.translate_batch(
            [[f"t{i}" for i in ids] for ids in sources],
            beam_size=beam_size,
            num_hypotheses=num_hypotheses,
            length_penalty=length_penalty,
            max_decoding_length=max_length,
            min_decoding_length=0,
            return_scores=True,
        )
        return [
            [
                (tuple(int(token[1:]) for token in hypothesis), score)
                for hypothesis, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]

"""The trainer's weights in CTranslate2: an engine that shares no code with ours."""

from collections.abc import Sequence
from pathlib import Path

import ctranslate2

from tfm.export.formats.ctranslate2 import write_ctranslate2
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import ScoredIds
from tfm.trainer.model import Transformer

from .scalar_search import scalar_limit
from .search_cases import text_of


class Reference:
    """CTranslate2 in float32 over the weights of a Transformer."""

    def __init__(self, model: Transformer, folder: Path) -> None:
        self._vocab_size = model.config.target_vocab_size
        write_ctranslate2(model, folder)
        self._translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type="float32", intra_threads=1
        )

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        options: DecodingOptions,
        prefix: Sequence[int] = (),
    ) -> list[list[ScoredIds]]:
        """Hypotheses of each source, best first; sources end in EOS.

        Its lengths count the prefix, and its hypotheses begin with it.
        """
        if options.max_length_factor:
            return [
                hypotheses
                for source in sources
                for hypotheses in self.translate(
                    [source],
                    options.changed(
                        max_length=scalar_limit(len(source), options), max_length_factor=0.0
                    ),
                    prefix,
                )
            ]
        length = len(prefix)
        suppressed = [[f"t{i}"] for i in options.suppress_ids]
        for text in options.suppress_texts:
            ids = [ord(character) - ord(text_of(0)) for character in text]
            if max(ids) < self._vocab_size:
                suppressed.append([f"t{i}" for i in ids])
        results = self._translator.translate_batch(
            [[f"t{i}" for i in ids] for ids in sources],
            target_prefix=[[f"t{i}" for i in prefix] for _ in sources] if prefix else None,
            beam_size=options.beam_size,
            num_hypotheses=options.num_hypotheses,
            length_penalty=options.length_penalty,
            patience=options.patience,
            max_decoding_length=options.max_length + length,
            min_decoding_length=options.min_length + length if options.min_length else 0,
            suppress_sequences=suppressed or None,
            disable_unk=options.suppress_unk,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            return_scores=True,
        )
        return [
            [
                ScoredIds(tuple(int(token[1:]) for token in hypothesis)[length:], score)
                for hypothesis, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]

    def alternatives(
        self,
        source: Sequence[int],
        options: DecodingOptions,
        prefix: Sequence[int],
        count: int,
        min_probability: float,
    ) -> list[tuple[tuple[int, ...], float]]:
        """Ids without the prefix, and score, of each alternative after a target prefix."""
        (result,) = self._translator.translate_batch(
            [[f"t{i}" for i in source]],
            target_prefix=[[f"t{i}" for i in prefix]],
            beam_size=options.beam_size,
            num_hypotheses=count,
            return_alternatives=True,
            min_alternative_expansion_prob=min_probability,
            length_penalty=options.length_penalty,
            max_decoding_length=options.max_length + len(prefix),
            min_decoding_length=options.min_length + len(prefix),
            suppress_sequences=[[f"t{i}"] for i in options.suppress_ids] or None,
            return_scores=True,
        )
        return [
            (tuple(int(token[1:]) for token in ids[len(prefix) :]), score)
            for ids, score in zip(result.hypotheses, result.scores, strict=True)
        ]

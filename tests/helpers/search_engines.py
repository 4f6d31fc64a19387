"""Seven engines that search with one Transformer's weights, under one signature."""

from collections.abc import Callable
from pathlib import Path

from tfm.export.torch_reference import torch_search
from tfm.runtime.config import ModelConfig
from tfm.runtime.decode import beams, decode
from tfm.runtime.options import DecodingOptions
from tfm.runtime.search import Decoder, ScoredIds
from tfm.runtime.sessions import Sessions
from tfm.runtime.token_texts import TokenTexts
from tfm.trainer.model import Transformer

from .ctranslate2_reference import Reference
from .languages import Language, LanguageDecoder, model_language
from .scalar_search import scalar_sample, scalar_search
from .search_cases import SearchCase, text_of

# Source ids of each sentence, and the case, to the hypotheses of each sentence.
Engine = Callable[[list[list[int]], SearchCase], list[list[ScoredIds]]]

ENGINES = ("numpy", "decoder.onnx", "translate.onnx", "greedy.onnx", "torch", "ctranslate2")


class Engines:
    """All of them over one model, whose fp32 model folder is at hand too."""

    def __init__(self, model: Transformer, folder: Path, ctranslate2_folder: Path) -> None:
        self.model = model
        config = ModelConfig.load(folder)
        self.sessions = Sessions.open(folder, config, device="cpu", variant="fp32", intra_threads=1)
        # CTranslate2 has no SSRU.
        self.has_ctranslate2 = model.config.decoder_autoregression == "attention"
        if self.has_ctranslate2:
            self._ctranslate2 = Reference(model, ctranslate2_folder)
        self._languages: dict[tuple[int, ...], Language] = {}

    def engine(self, name: str) -> Engine:
        return {
            "scalar": self._scalar,
            "numpy": self._numpy,
            "decoder.onnx": self._by_steps,
            "translate.onnx": self._by_graph,
            "greedy.onnx": self._by_greedy_graph,
            "torch": self._torch,
            "ctranslate2": self._by_ctranslate2,
        }[name]

    def _token_texts(self) -> TokenTexts:
        size = self.model.config.target_vocab_size
        return TokenTexts([text_of(token_id).encode() for token_id in range(size)])

    def _language(self, source: list[int]) -> Language:
        key = tuple(source)
        if key not in self._languages:
            self._languages[key] = model_language(self.model, source)
        return self._languages[key]

    def _scalar(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        eos_id = self.model.config.eos_id
        return [
            scalar_sample(self._language(source), source, case.options, eos_id, case.prefix)
            if case.options.temperature
            else scalar_search(
                self._language(source), case.options, eos_id, case.prefix, len(source)
            )
            for source in sources
        ]

    def _numpy(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        languages = [self._language(source) for source in sources]
        decoder = LanguageDecoder(languages, beams(case.options))
        return self._search(decoder, sources, case)

    def _by_steps(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        state = self.sessions.encode(sources, beams(case.options))
        return self._search(state, sources, case)

    def _by_graph(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        return self.sessions.translate(sources, case.options, case.prefix)

    def _by_greedy_graph(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        return self.sessions.translate(sources, case.options, case.prefix, graph="greedy")

    def _torch(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        return torch_search(self.model, sources, case.options, case.prefix, self._token_texts)

    def _by_ctranslate2(self, sources: list[list[int]], case: SearchCase) -> list[list[ScoredIds]]:
        return self._ctranslate2.translate(sources, case.options, case.prefix)

    def _search(
        self, decoder: Decoder, sources: list[list[int]], case: SearchCase
    ) -> list[list[ScoredIds]]:
        return decode(
            decoder,
            sources,
            case.options,
            bos_id=self.model.config.bos_id,
            eos_id=self.model.config.eos_id,
            unk_id=self.model.config.unk_id,
            token_texts=self._token_texts,
            target_prefix=case.prefix,
        )


def search_by_steps(
    bos_id: int,
    eos_id: int,
    decoder: Decoder,
    count: int,
    options: DecodingOptions,
    prefix: tuple[int, ...] = (),
) -> list[list[ScoredIds]]:
    """The runtime's search with all its rules, over any decoder."""
    sources = [[]] * count  # only sampling looks at them
    return decode(decoder, sources, options, bos_id=bos_id, eos_id=eos_id, target_prefix=prefix)

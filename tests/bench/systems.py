"""The engines that a worker process can load.

A worker imports only the packages of its own engine, so at module level there is only the standard
library.

An engine has three methods: `prepare` brings the sentences into the engine's form (not timed),
`translate` is timed, and `outputs` turns its results into token ids.
"""

import importlib
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

Ids = list[list[int]]

# The packages that each peer consists of, as Python imports them.
PEERS: dict[str, tuple[str, ...]] = {
    "ctranslate2": ("ctranslate2",),
    "optimum": ("optimum.onnxruntime", "transformers"),
    "transformers": ("transformers",),
    "torch": ("torch",),
}
# The decoding options that a peer has too, by their names in runtime/options.py.
PEER_OPTIONS: dict[str, frozenset[str]] = {
    "ctranslate2": frozenset(
        {"length_penalty", "patience", "min_length", "repetition_penalty", "no_repeat_ngram_size"}
    ),
}
FILE_BATCH = 32  # sentences at a time for engines that leave batching a file to the caller


@dataclass(frozen=True, slots=True)
class System:
    """An engine with a converted model and a number of threads: one row of the table.

    Attributes:
        name: such as `CTranslate2 int8`; the same for every number of threads
        engine: a key of ENGINES
        folder: the converted model
        option: the precision, by the name that the engine uses
        threads: the number of threads that it computes with; 0 is the engine's own default
        greedy_only: it has no beam search
        special_ids: bos_id, eos_id, pad_id and unk_id of the model
        decoding: decoding options that are not neutral, by their names in runtime/options.py
    """

    name: str
    engine: str
    folder: str
    option: str
    threads: int
    greedy_only: bool = False
    special_ids: dict[str, int] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Such as `CTranslate2 int8, 1 thread`: tells the systems of a run apart."""
        return f"{self.name}, {threads_name(self.threads)}"

    def to_json(self) -> dict[str, Any]:
        """For the worker's first request."""
        return asdict(self)


def threads_name(threads: int) -> str:
    """`1 thread`, `2 threads`; for 0 `default threads`."""
    return f"{threads or 'default'} thread{'s' if threads != 1 else ''}"


class Engine(Protocol):
    """A loaded model."""

    def prepare(self, sources: Ids, batch: int | None, beam: int) -> Any:
        """Inputs in the engine's form; with batch None the engine batches a whole file itself."""
        ...

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        """Translate; this is timed."""
        ...

    def outputs(self, results: Any) -> Ids:
        """Target ids of each sentence, in order, without BOS and EOS."""
        ...


def chunks(sources: Ids, size: int | None) -> list[Ids]:
    """Sentences cut into chunks of this size; None is a single chunk."""
    size = size or len(sources)
    return [sources[start : start + size] for start in range(0, len(sources), size)]


class Tfm:
    """tfm's runtime. It batches a file by max_batch_tokens."""

    imports = ("tfm.runtime.translator", "onnxruntime")

    def __init__(self, system: System) -> None:
        from tfm.runtime import DecodingOptions, Translator

        self._options = DecodingOptions(**system.decoding)
        self._translator = Translator(
            system.folder, variant=system.option, device="cpu", intra_threads=system.threads
        )

    def prepare(self, sources: Ids, batch: int | None, beam: int) -> Any:
        return chunks(sources, batch), batch

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        options = self._options.changed(
            beam_size=beam, max_length=length, min_length=min(self._options.min_length, length)
        )
        results: list[Any] = []
        sentence_chunks, batch = prepared
        for chunk in sentence_chunks:
            limits: dict[str, Any] = {"with_scores": False}  # the others compute none, either
            if batch is not None:  # all of them together, whatever the default limit says
                limits["max_batch_tokens"] = len(chunk) * beam * max(map(len, chunk))
            results += self._translator.translate_ids(chunk, options, **limits)
        return results

    def outputs(self, results: Any) -> Ids:
        return [list(hypotheses[0].ids) for hypotheses in results]


class CTranslate2:
    """CTranslate2 sorts and batches a file by itself. Tokens are named `t<id>`."""

    imports = ("ctranslate2",)

    def __init__(self, system: System) -> None:
        import ctranslate2

        self._translator = ctranslate2.Translator(
            system.folder,
            device="cpu",
            compute_type=system.option,
            inter_threads=1,
            intra_threads=system.threads,
        )
        self._min_length = system.decoding.get("min_length", 0)
        same_names = ("length_penalty", "patience", "repetition_penalty", "no_repeat_ngram_size")
        self._options = {
            name: value for name, value in system.decoding.items() if name in same_names
        }

    def prepare(self, sources: Ids, batch: int | None, beam: int) -> Any:
        named = [[[f"t{i}" for i in ids] for ids in chunk] for chunk in chunks(sources, batch)]
        return named, FILE_BATCH if batch is None else 0

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        results: list[Any] = []
        sentence_chunks, max_batch_size = prepared
        for chunk in sentence_chunks:
            results += self._translator.translate_batch(
                chunk,
                beam_size=beam,
                max_decoding_length=length,
                min_decoding_length=min(self._min_length, length),
                max_batch_size=max_batch_size,
                **self._options,
            )
        return results

    def outputs(self, results: Any) -> Ids:
        return [[int(token[1:]) for token in result.hypotheses[0]] for result in results]


class Generate:
    """`generate()` of transformers, over its own model or over optimum's ONNX graphs."""

    def __init__(self, system: System, model: Any) -> None:
        self._model = model
        self._ids = system.special_ids

    def prepare(self, sources: Ids, batch: int | None, beam: int) -> Any:
        import torch

        prepared = []
        for chunk in chunks(sources, batch or FILE_BATCH):
            rows = [torch.tensor(ids) for ids in chunk]
            ids = torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True, padding_value=self._ids["pad_id"]
            )
            lengths = torch.tensor([len(row) for row in rows])
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            prepared.append({"input_ids": ids, "attention_mask": mask})
        return prepared

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        return [
            self._model.generate(
                **inputs,
                num_beams=beam,
                do_sample=False,
                length_penalty=1.0,
                max_new_tokens=length,
            )
            for inputs in prepared
        ]

    def outputs(self, results: Any) -> Ids:
        rows = [row[1:] for ids in results for row in ids.tolist()]
        eos = self._ids["eos_id"]
        return [row[: row.index(eos)] if eos in row else row for row in rows]


class Transformers(Generate):
    """PyTorch with the key/value cache of transformers."""

    imports = ("torch", "transformers.models.marian.modeling_marian")

    def __init__(self, system: System) -> None:
        from transformers import MarianMTModel

        _set_torch_threads(system.threads)
        super().__init__(system, MarianMTModel.from_pretrained(system.folder).eval())


class Optimum(Generate):
    """optimum-onnx: ONNX Runtime under generate()."""

    imports = ("torch", "optimum.onnxruntime.modeling_seq2seq")

    def __init__(self, system: System) -> None:
        import onnxruntime
        from optimum.onnxruntime import ORTModelForSeq2SeqLM

        _set_torch_threads(system.threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = system.threads
        options.log_severity_level = 3
        names = ("encoder_model", "decoder_model", "decoder_with_past_model")
        suffix = "_quantized" if system.option == "int8" else ""
        files = {
            f"{part}_file_name": f"{name}{suffix}.onnx"
            for part, name in zip(("encoder", "decoder", "decoder_with_past"), names, strict=True)
        }
        model = ORTModelForSeq2SeqLM.from_pretrained(
            system.folder, session_options=options, **files
        )
        super().__init__(system, model)


class Torch:
    """The trainer's own model: greedy, without a cache."""

    imports = ("torch", "tfm.trainer.model")

    def __init__(self, system: System) -> None:

        from tfm.trainer.checkpoint import CONFIG, MODEL, load_weights, read_weights
        from tfm.trainer.config import load_model_config
        from tfm.trainer.model import Transformer

        _set_torch_threads(system.threads)
        folder = Path(system.folder)
        self._model = Transformer(load_model_config(folder / CONFIG)).eval()
        load_weights(self._model, read_weights(folder / MODEL))

    def prepare(self, sources: Ids, batch: int | None, beam: int) -> Any:
        from tfm.trainer.data.batches import pad

        pad_id = self._model.config.pad_id
        return [pad(chunk, pad_id) for chunk in chunks(sources, batch or FILE_BATCH)]

    def translate(self, prepared: Any, beam: int, length: int) -> Any:
        return [row for ids in prepared for row in self._model.greedy(ids, length)]

    def outputs(self, results: Any) -> Ids:
        return results  # type: ignore[no-any-return]


def _set_torch_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


ENGINES: dict[str, Any] = {
    "tfm": Tfm,
    "ctranslate2": CTranslate2,
    "transformers": Transformers,
    "optimum": Optimum,
    "torch": Torch,
}


def import_engine(name: str) -> None:
    """Import the packages of an engine.

    CTranslate2 imports torch and transformers for its converters if they are installed. It does
    not need them to translate, so its worker hides them.
    """
    if name == "ctranslate2":
        for module in ("torch", "transformers"):
            sys.modules[module] = None  # type: ignore[assignment]
    for module in ENGINES[name].imports:
        importlib.import_module(module)

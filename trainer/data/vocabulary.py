"""SentencePiece vocabularies: one per side, or a joint one."""

import hashlib
import io
import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from tfm.runtime.subwords import SubwordModel, split_language_tag
from tfm.trainer.config import TransformerConfig, VocabularyRecipe
from tfm.trainer.errors import TrainError

from .normalization import NFKC, write_rules

logger = logging.getLogger(__name__)

SOURCE_FILE, TARGET_FILE = "source.spm", "target.spm"
MAX_SENTENCE_BYTES = 8192  # longer ones do not count for the vocabulary
SPECIAL_IDS = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}


class Vocabulary:
    """The tokenizers of both sides; the same one twice when the vocabulary is joint."""

    def __init__(
        self,
        source: sentencepiece.SentencePieceProcessor,
        target: sentencepiece.SentencePieceProcessor,
    ) -> None:
        self.source = source
        self.target = target
        self._source_subwords = SubwordModel(source)
        self._target_subwords = self._source_subwords if target is source else SubwordModel(target)

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Read a checkpoint's vocabulary.

        Raises:
            TrainError: a file is missing or is no SentencePiece model
        """
        source = folder / SOURCE_FILE
        joint = not (folder / TARGET_FILE).exists()
        return cls.read(source, source if joint else folder / TARGET_FILE)

    @classmethod
    def read(cls, source: Path, target: Path) -> "Vocabulary":
        """Read the SentencePiece models of both sides; one path twice is a joint vocabulary.

        Raises:
            TrainError: a file is missing or is no SentencePiece model
        """
        first = _load(source)
        return cls(first, first if target == source else _load(target))

    def save(self, folder: Path) -> None:
        """Write source.spm, and target.spm unless the vocabulary is joint."""
        (folder / TARGET_FILE).unlink(missing_ok=True)
        (folder / SOURCE_FILE).write_bytes(self.source.serialized_model_proto())
        if self.target is not self.source:
            (folder / TARGET_FILE).write_bytes(self.target.serialized_model_proto())

    @property
    def digest(self) -> str:
        """What tells it from another vocabulary."""
        content = hashlib.sha256()
        for processor in (self.source, self.target):
            content.update(processor.serialized_model_proto())
        return content.hexdigest()

    @property
    def special_ids(self) -> dict[str, int]:
        """pad_id, unk_id, bos_id, eos_id: the same on both sides."""
        return dict(SPECIAL_IDS)

    def check(self, config: TransformerConfig) -> None:
        """Raise TrainError unless the vocabulary has the sizes that the model was built for."""
        sizes = (self.source.vocab_size(), self.target.vocab_size())
        expected = (config.source_vocab_size, config.target_vocab_size)
        if sizes != tuple(size + config.num_extra_pieces for size in expected):
            raise TrainError(
                f"vocabularies of {sizes} pieces do not belong to a model of {expected}"
            )

    def encode_source(self, texts: Sequence[str], config: TransformerConfig) -> list[list[int]]:
        """Source ids as the encoder reads them: config.source_prefix, the pieces, and EOS unless
        config.source_eos is false.

        With language_token "source", `>>fra<<` at the beginning of a text chooses that language.

        Raises:
            UnknownLanguageError: a text begins with the tag of another language
        """
        texts, prefixes = list(texts), [config.source_prefix] * len(texts)
        if config.language_token == "source":
            for index, text in enumerate(texts):
                token, texts[index] = split_language_tag(text, config.language_ids)
                prefixes[index] = prefixes[index] if token is None else [token]
        rows = self._source_subwords.encode(texts, config.source_vocab_size, config.unk_id)
        end = [config.eos_id] if config.source_eos else []
        # A source of nothing at all would leave nothing to attend to.
        return [
            [*own, *ids, *end] or [config.eos_id] for own, ids in zip(prefixes, rows, strict=True)
        ]

    def encode_target(self, texts: Sequence[str], config: TransformerConfig) -> list[list[int]]:
        """Target ids of a training pair: config.target_prefix, the pieces, EOS."""
        rows = self._target_subwords.encode(texts, config.target_vocab_size, config.unk_id)
        return [[*config.target_prefix, *ids, config.eos_id] for ids in rows]

    def target_texts(self, config: TransformerConfig) -> list[bytes]:
        """What each target token adds to a text, in UTF-8."""
        return self._target_subwords.texts(config.target_vocab_size)

    def decode_target(self, ids: Sequence[int]) -> str:
        """The text of target ids without prefix and EOS."""
        return self._target_subwords.decode(ids)


def train_vocabulary(
    sources: Sequence[str], targets: Sequence[str], recipe: VocabularyRecipe
) -> Vocabulary:
    """Train models with byte fallback, so that no character is ever unknown.

    The source is normalized as recipe.normalization and recipe.fold_traditional say; the target is
    left as it is, because what the decoder learns to write is what the user reads (a joint
    vocabulary normalizes both).

    Raises:
        TrainError: SentencePiece refuses, for instance because the size is too small; or OpenCC is
            needed and missing
    """
    with tempfile.TemporaryDirectory() as folder:
        normalization = {"normalization_rule_name": NFKC}
        only_width = recipe.normalization == "width"
        if only_width or recipe.fold_traditional:
            rules = Path(folder) / "rules.tsv"
            write_rules(rules, only_width=only_width, fold_traditional=recipe.fold_traditional)
            normalization = {"normalization_rule_tsv": str(rules)}
        if recipe.joint:
            joint = _train([*sources, *targets], recipe, normalization)
            return Vocabulary(joint, joint)
        source = _train(sources, recipe, normalization)
    return Vocabulary(source, _train(targets, recipe, {"normalization_rule_name": "identity"}))


def _train(
    sentences: Sequence[str], recipe: VocabularyRecipe, normalization: dict[str, Any]
) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=recipe.algorithm,
            vocab_size=recipe.size,
            hard_vocab_limit=False,  # a small corpus may hold fewer pieces than asked for
            character_coverage=recipe.character_coverage,
            byte_fallback=True,
            max_sentence_length=MAX_SENTENCE_BYTES,
            minloglevel=2,
            pad_id=SPECIAL_IDS["pad_id"],
            unk_id=SPECIAL_IDS["unk_id"],
            bos_id=SPECIAL_IDS["bos_id"],
            eos_id=SPECIAL_IDS["eos_id"],
            **normalization,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise TrainError(_reason(str(error), recipe)) from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    if processor.vocab_size() < recipe.size:
        logger.warning(
            "vocabulary.size is %d, but the corpus has pieces for %d only",
            recipe.size,
            processor.vocab_size(),
        )
    return processor


def _reason(message: str, recipe: VocabularyRecipe) -> str:
    """What SentencePiece says, in the recipe's words."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocabulary.size {recipe.size} is too small: the characters of the corpus, the bytes "
            f"and the special tokens are {needed[1]}; raise it, or lower character_coverage"
        )
    if most := re.search(r"value <= (\d+)", message):
        return (
            f"vocabulary.size {recipe.size} is too large for the corpus: choose at most {most[1]}"
        )
    if "all_chars_count" in message or "sentences_.empty()" in message:
        return (
            "no vocabulary can be trained: the corpus has no sentence with text of at most "
            f"{MAX_SENTENCE_BYTES} bytes"
        )
    reason = re.sub(r"^\w+: \S+\(\d+\) \[.*\] ", "", message.splitlines()[-1] if message else "")
    return (
        f"a vocabulary of size {recipe.size} cannot be trained: {reason or 'no reason given'}; "
        "try another size"
    )


def _load(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        processor = sentencepiece.SentencePieceProcessor()
        # Not model_proto=: that takes an empty file for a model without pieces.
        processor.LoadFromSerializedProto(path.read_bytes())
        return processor
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: not found; is this a checkpoint written by `tfm train`?"
        ) from error
    except RuntimeError as error:
        raise TrainError(f"{path}: not a SentencePiece model") from error

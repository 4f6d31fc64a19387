"""config.json of a model folder: what the model is, and its files with size and sha256.

Written by `tfm export` and read by the runtime through the same dataclasses.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Self

from .alignment_heads import AlignmentHeads
from .bundled import BUNDLED_MODELS
from .errors import ModelError
from .files.display import printable
from .files.folder_kind import FolderKind, wrong_kind
from .files.regular import open_regular, read_regular
from .files.schema import SchemaError, limited, limits, load_dataclass
from .options import DecodingOptions

FORMAT_VERSION = 4
CONFIG_FILE = "config.json"
# Far beyond any model; what is larger is a mistake, or meant to use up memory.
LARGEST_SIZE = 10_000_000
LARGEST_DEPTH = 1024
LARGEST_GRAPH = 1 << 27  # bytes; the weights are in a file of their own
LARGEST_VOCABULARY = 1 << 27
LONGEST_NAME = 255  # characters; of paths too
LARGEST_SOURCE = 1 << 16  # tokens
MAX_CONFIG_BYTES = 1 << 24
MAX_LISTED = 12  # languages that an error names
POSITIONS = ("paper", "marian", "fairseq")
SHORTLISTS = ("none", "preview", "lexical")  # what export/README.md says about shortlists


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The Transformer's dimensions; norm is "post" (as published) or "pre".

    `decoder_autoregression` is how the decoder knows of earlier tokens: "attention", or "ssru", a
    recurrent unit (Kim et al. 2019). `positions` and `first_position` say which sinusoids stand for
    places in a sentence (sinusoids.py); None where an older export does not say.
    """

    d_model: int = limited(low=1, high=LARGEST_SIZE)
    d_ff: int = limited(low=1, high=LARGEST_SIZE)
    num_heads: int = limited(low=1, high=LARGEST_SIZE)
    encoder_layers: int = limited(low=0, high=LARGEST_DEPTH)
    decoder_layers: int = limited(low=1, high=LARGEST_DEPTH)
    source_vocab_size: int = limited(low=1, high=LARGEST_SIZE)
    target_vocab_size: int = limited(low=1, high=LARGEST_SIZE)
    norm: str
    decoder_autoregression: str = "attention"
    positions: str | None = None
    first_position: int = limited(0, low=0, high=LARGEST_SIZE)
    parameters: int = limited(low=0)

    def __post_init__(self) -> None:
        if self.norm not in {"post", "pre"}:
            raise ModelError(f"architecture.norm is {self.norm!r}: expected 'post' or 'pre'")
        if self.decoder_autoregression not in {"attention", "ssru"}:
            raise ModelError(
                f"architecture.decoder_autoregression is {self.decoder_autoregression!r}: expected"
                " 'attention' or 'ssru'"
            )
        if self.positions not in {None, *POSITIONS}:
            raise ModelError(
                f"architecture.positions is {self.positions!r}: expected"
                f" {' or '.join(map(repr, POSITIONS))}"
            )
        if self.d_model % self.num_heads:
            raise ModelError(
                f"architecture: d_model {self.d_model} is not a multiple of"
                f" num_heads {self.num_heads}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Languages:
    """Language codes of the two sides, such as "zh" and "en".

    A model of many languages has a token for each: `language_ids`. `language_token` says where
    one stands: "none", or "source" (the source begins with the token of the language to write),
    or "both" (each side begins with its own language's token). `source` and `target` are then the
    default languages. The trainer's configuration has the same keys.
    """

    source: str
    target: str
    language_token: str
    language_ids: dict[str, int] = field(metadata=limits(low=0))

    def __post_init__(self) -> None:
        for language in (self.source, self.target, *self.language_ids):
            check_printable("a language", language)
        if self.language_token not in {"none", "source", "both"}:
            raise ModelError(
                f"languages.language_token is {self.language_token!r}:"
                " expected 'none', 'source' or 'both'"
            )
        for language in self._used(self.source, self.target):
            if language not in self.language_ids:
                raise ModelError(f"language {language!r} has no token in languages.language_ids")

    def prefixes(
        self, source: str | None = None, target: str | None = None
    ) -> tuple[list[int], list[int]]:
        """The language tokens that source and target begin with; None is the default language.

        Raises:
            ValueError: the model does not know a language
        """
        source = self.source if source is None else source
        target = self.target if target is None else target
        for side, language, known in (
            ("source", source, self.source_languages),
            ("target", target, self.target_languages),
        ):
            if language not in known:
                listed = ", ".join(known[:MAX_LISTED]) + ", ..." * (len(known) > MAX_LISTED)
                raise ValueError(f"{side}_language is {language!r}: this model has {listed}")
        tokens = [self.language_ids[language] for language in self._used(source, target)]
        return tokens[:1], tokens[1:]

    @property
    def source_languages(self) -> list[str]:
        """What the model reads."""
        return sorted(self.language_ids) if self.language_token == "both" else [self.source]

    @property
    def target_languages(self) -> list[str]:
        """What the model writes."""
        return [self.target] if self.language_token == "none" else sorted(self.language_ids)

    def _used(self, source: str, target: str) -> list[str]:
        """The languages whose tokens are used, in the order of use."""
        used = {"none": [], "source": [target], "both": [source, target]}
        return used[self.language_token]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """Token ids with a meaning of their own, the same on both sides."""

    bos_id: int = limited(low=0)
    eos_id: int = limited(low=0)
    pad_id: int = limited(low=0)
    unk_id: int = limited(low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of the model folder: its path relative to the folder, size in bytes, sha256."""

    path: str
    size: int = limited(low=0)
    sha256: str

    def __post_init__(self) -> None:
        check_printable("path", self.path)
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ModelError(f"sha256 is {ascii(self.sha256)[:80]}: expected 64 hexadecimal digits")
        inside = PurePosixPath(self.path)
        if (
            not inside.parts
            or inside.is_absolute()
            or ".." in inside.parts
            or "\\" in self.path
            or PureWindowsPath(self.path).drive
        ):
            raise ModelError(f"path {self.path!r} is not inside the model folder")

    @classmethod
    def of(cls, folder: Path, path: str) -> Self:
        """Describe the file `folder / path` as it is now."""
        file = folder / path
        return cls(path=path, size=file.stat().st_size, sha256=_sha256(file))

    def verify(self, folder: Path) -> Path:
        """The file's full path, once its size and sha256 are what they should be.

        Raises:
            ModelError: the file is missing, unreadable or damaged
        """
        file = folder / self.path
        try:
            size = file.stat().st_size
            if size != self.size:
                raise ModelError(
                    f"{file} is damaged: {size} bytes, expected {self.size};"
                    " copy the model folder again"
                )
            digest = _sha256(file)
        except OSError as error:
            raise ModelError(
                f"cannot read {file}: {error.strerror}; copy the model folder again"
            ) from error
        if digest != self.sha256:
            raise ModelError(
                f"{file} is damaged: sha256 {digest[:12]}..., expected {self.sha256[:12]}...;"
                " copy the model folder again"
            )
        return file


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """The SentencePiece models; both entries name one file when the vocabulary is joint."""

    source: FileEntry
    target: FileEntry

    def __post_init__(self) -> None:
        for vocabulary in (self.source, self.target):
            if vocabulary.size > LARGEST_VOCABULARY:
                raise ModelError(
                    f"{vocabulary.path} has {vocabulary.size} bytes: a vocabulary has at most"
                    f" {LARGEST_VOCABULARY}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFiles:
    """The graphs of one precision, which keep their weights in one external file.

    `translate` is encoder, decoder and search in one, `greedy` the same for greedy search alone;
    `score` reads a given target. Older exports do not have these two. The others are for a search
    step by step.
    """

    encoder: FileEntry
    decoder: FileEntry
    compact: FileEntry
    translate: FileEntry
    weights: FileEntry
    greedy: FileEntry | None = None
    score: FileEntry | None = None

    def __post_init__(self) -> None:
        graphs = (getattr(self, field.name) for field in fields(self) if field.name != "weights")
        for graph in graphs:
            if graph is not None and graph.size > LARGEST_GRAPH:
                raise ModelError(
                    f"{graph.path} has {graph.size} bytes: a graph has at most {LARGEST_GRAPH}"
                )

    @property
    def size(self) -> int:
        """Bytes of all files."""
        files = (getattr(self, field.name) for field in fields(self))
        return sum(file.size for file in files if file is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything config.json says; keys it does not know are left alone.

    A source sentence is cut at max_source_length tokens, and ends in EOS where source_eos says so.
    With `fold_capitals` one that is all in capitals is read in small letters (capitals.py).
    `decoding` has the model's own options. `shortlist` says how the graphs choose the tokens whose
    logits they compute; "none" is all. `alignment` is what the export found out about the heads.
    """

    format_version: int = FORMAT_VERSION
    name: str
    architecture: Architecture
    languages: Languages
    special_ids: SpecialIds
    max_source_length: int = limited(low=1, high=LARGEST_SOURCE)
    source_eos: bool = True
    fold_capitals: bool = False
    decoding: DecodingOptions
    tokenizer: TokenizerFiles
    variants: dict[str, VariantFiles]
    shortlist: str = "none"
    alignment: AlignmentHeads | None = None

    def __post_init__(self) -> None:
        check_printable("name", self.name)
        if not self.variants:
            raise ModelError("variants is empty: the model has no graphs")
        for variant in self.variants:
            check_printable("a variant", variant)
        if self.shortlist not in SHORTLISTS:
            raise ModelError(
                f"shortlist is {self.shortlist!r}: expected {' or '.join(map(repr, SHORTLISTS))}"
            )
        self._check_ids()
        shape = self.architecture
        try:
            self.decoding.check_vocabulary(shape.target_vocab_size)
        except ValueError as error:
            raise ModelError(f"decoding: {error}") from error
        if self.alignment is not None:
            self.alignment.check(shape.decoder_layers, shape.num_heads)

    def fingerprint(self, variant: str) -> str:
        """Tells models and their variants apart by what they hold, not by where they lie: the
        name, and a hash of the hashes of the files in use."""
        parts = (self.tokenizer, self.variants[variant], self.special_ids, self.languages)
        facts: list[object] = [*(asdict(part) for part in parts), self.max_source_length]
        if self.fold_capitals:
            facts.append("fold_capitals")
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{self.name} ({digest[:12]})"

    def _check_ids(self) -> None:
        """Raise ModelError when an id that is used is none of the vocabulary's, or has two uses."""
        source, target = (
            self.architecture.source_vocab_size,
            self.architecture.target_vocab_size,
        )
        ids = self.special_ids
        for name in ("bos_id", "eos_id", "pad_id", "unk_id"):
            # BOS is never read by the encoder, and the decoder writes all but BOS and padding.
            size = target if name == "bos_id" else min(source, target)
            if getattr(ids, name) >= size:
                raise ModelError(
                    f"special_ids.{name} is {getattr(ids, name)}, the vocabulary has {size} tokens"
                )
        if ids.eos_id in (ids.pad_id, ids.unk_id):  # BOS may be EOS or padding: M2M100, Marian
            raise ModelError(f"special_ids: EOS is padding or unknown too: {asdict(ids)}")
        for language, token_id in self.languages.language_ids.items():
            if token_id >= source or token_id >= target:
                raise ModelError(
                    f"languages.language_ids has {token_id} for {language!r}, the vocabulary has"
                    f" {min(source, target)} tokens"
                )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check `folder / config.json`; the other files are not touched.

        Raises:
            ModelError: it is missing, not JSON, of another format version, or incomplete
        """
        if problem := wrong_kind(folder, FolderKind.MODEL_FOLDER):
            raise ModelError(problem)
        path = folder / CONFIG_FILE
        try:
            data = json.loads(read_regular(path, MAX_CONFIG_BYTES).decode("utf-8"))
        except FileNotFoundError as error:
            wanted = "expected a folder written by `tfm export`"
            if not folder.exists():
                wanted = f"there is no such folder; bundled models: {', '.join(BUNDLED_MODELS)}"
            raise ModelError(f"{folder} has no {CONFIG_FILE}: {wanted}") from error
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError too
            raise ModelError(f"{path} is not JSON: {error}") from error

        version = data.get("format_version") if isinstance(data, dict) else None
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise ModelError(
                f"{path}: format_version is {version!r}, this tfm reads {FORMAT_VERSION};"
                " export the model again or install a matching tfm"
            )
        try:
            return load_dataclass(cls, data, str(path), unknown_keys="ignore")
        except SchemaError as error:
            raise ModelError(f"{error}; export the model again") from error

    def save(self, folder: Path) -> None:
        """Write `folder / config.json`."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def utf8_path(path: Path) -> str:
    """A path for libraries in C++, which take it as UTF-8 whatever the locale is.

    Raises:
        ModelError: it is not UTF-8
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8: rename the folder") from error


def check_printable(what: str, text: str) -> None:
    """Raise ModelError when a text does not fit into one line of a terminal or log."""
    if printable(text) != text:
        raise ModelError(f"{what} is {ascii(text)[:60]}: it has characters that cannot be shown")
    if len(text) > LONGEST_NAME:
        raise ModelError(
            f"{what} is {text[:60]!r}...: it has {len(text)} characters, at most {LONGEST_NAME}"
        )


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The recipe: frozen dataclasses are the only schema, read from TOML with every key checked."""

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tfm.runtime.files.schema import SchemaError, internal, limited, load_dataclass

from .data.recipe import LARGEST, DataRecipe
from .errors import TrainError

T = TypeVar("T")

LARGEST_SEED = 10**18

Ablation = Literal["batch_norm", "no_scaling", "no_residual", "learned_positions", "no_positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """What the network is (paper, table 3). Saved with every checkpoint as config.json.

    `norm` is "post" as published or "pre". `tied_embeddings` says which matrices are one: "none",
    "target" (target embedding and output projection), "all" (the source embedding too; needs a
    joint vocabulary). `decoder_autoregression` is how a decoder layer knows of earlier tokens:
    "attention", or "ssru", a recurrent unit (ssru.py). `bos_id` is what every target begins with,
    before anything is known of it.

    The rest is for models that others trained; the defaults are the paper's. `positions` and
    `first_position`: see `positions.sinusoidal_positions`. `source_eos`: every source ends in
    eos_id. `output_bias` adds a number per token to the logits. `norm_epsilon` is what layer
    normalization adds to the variance. Tokens in `suppress_ids` are never written. A multilingual
    model has a token for each language, `language_ids`. `language_token` says where it stands:
    "source" (the source begins with that of the target language: Marian) or "both" (each side
    begins with its own language's, the target after bos_id: M2M100). Both vocabularies end in
    `num_extra_pieces` pieces that have no embedding.

    `ablations` are for experiments only: see ablations.py.
    """

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 256
    d_ff: int = 1024
    num_heads: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 2
    dropout: float = 0.1
    norm: Literal["post", "pre"] = "post"
    tied_embeddings: Literal["none", "target", "all"] = "target"
    decoder_autoregression: Literal["attention", "ssru"] = "attention"
    pad_id: int = 0
    unk_id: int = 1
    bos_id: int = 2
    eos_id: int = 3
    source_language: str = "source"
    target_language: str = "target"
    activation: Literal["relu", "swish", "gelu"] = "relu"
    positions: Literal["paper", "marian", "fairseq"] = "paper"
    first_position: int = 0
    scale_embeddings: bool = True
    source_eos: bool = True
    output_bias: bool = False
    norm_epsilon: float = limited(1e-5, above=0, below=1)
    suppress_ids: tuple[int, ...] = ()
    language_token: Literal["none", "source", "both"] = "none"
    language_ids: dict[str, int] = field(default_factory=dict)
    num_extra_pieces: int = 0
    ablations: tuple[Ablation, ...] = ()

    @property
    def source_prefix(self) -> list[int]:
        """What every source begins with: nothing, or a language's token."""
        if self.language_token == "none":
            return []
        own = self.language_token == "both"
        return [self.language_ids[self.source_language if own else self.target_language]]

    @property
    def target_prefix(self) -> list[int]:
        """bos_id, and with language_token "both" the token of the target language."""
        return [self.bos_id, *self.target_language_ids]

    @property
    def target_language_ids(self) -> list[int]:
        """The target prefix after bos_id."""
        return [self.language_ids[self.target_language]] if self.language_token == "both" else []

    def __post_init__(self) -> None:
        if self.d_model % (2 * self.num_heads):
            raise TrainError(
                f"d_model {self.d_model} with num_heads {self.num_heads}: "
                "choose a d_model that is a multiple of twice num_heads"
            )
        if self.tied_embeddings == "all" and self.source_vocab_size != self.target_vocab_size:
            raise TrainError("tied_embeddings 'all' needs a joint vocabulary: set joint = true")
        for name in self.ablations:
            if name not in get_args(Ablation) or self.ablations.count(name) > 1:
                raise TrainError(
                    f"ablation {name!r}: choose, each at most once, from "
                    f"{', '.join(get_args(Ablation))}"
                )
        if {"learned_positions", "no_positions"} <= set(self.ablations):
            raise TrainError("ablations learned_positions and no_positions: choose one of them")
        needed = {"none": (), "source": (self.target_language,)}.get(
            self.language_token, (self.source_language, self.target_language)
        )
        for language in needed:
            if language not in self.language_ids:
                raise TrainError(
                    f"language {language!r} is none of the model's: "
                    f"{', '.join(sorted(self.language_ids))}"
                )


# What tfm 0.1.0 called some keys of config.json: its checkpoints are still read.
OLD_KEYS = {
    "tagged": "language_token",
    "language_tags": "language_ids",
    "unknown_pieces": "num_extra_pieces",
    "forbidden_ids": "suppress_ids",
}

SIZES = ("d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers")
PRESETS: dict[str, dict[str, Any]] = {
    name: dict(zip(SIZES, values, strict=True))
    for name, values in {
        "tiny": (128, 256, 4, 4, 4),  # the Multi30k model of Wu et al. 2021
        "edge": (256, 1024, 4, 6, 2),
        "base": (512, 2048, 8, 6, 6),  # table 3 of the paper
        "big": (1024, 4096, 16, 6, 6),  # table 3 of the paper
    }.items()
}
for _name in ("tiny", "edge"):
    PRESETS[f"{_name}-ssru"] = {**PRESETS[_name], "decoder_autoregression": "ssru"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """[model]: a preset, and what to change of it (None keeps the preset's value)."""

    preset: Literal["tiny", "edge", "base", "big", "tiny-ssru", "edge-ssru"] = "edge"
    d_model: int | None = limited(None, low=1, high=1 << 16)
    d_ff: int | None = limited(None, low=1, high=1 << 18)
    num_heads: int | None = limited(None, low=1, high=1 << 10)
    encoder_layers: int | None = limited(None, low=1, high=1000)
    decoder_layers: int | None = limited(None, low=1, high=1000)
    dropout: float = limited(0.1, low=0, high=0.9)
    norm: Literal["post", "pre"] = "post"
    tied_embeddings: Literal["none", "target", "all"] = "target"
    decoder_autoregression: Literal["attention", "ssru"] | None = None
    ablations: tuple[Ablation, ...] = ()

    def build(
        self, data: "DataRecipe", source_size: int, target_size: int, **ids: int
    ) -> TransformerConfig:
        """The configuration of the network for vocabularies of these sizes."""
        values = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "preset"
        }
        overrides = {name: value for name, value in values.items() if value is not None}
        return TransformerConfig(
            source_vocab_size=source_size,
            target_vocab_size=target_size,
            source_language=data.source_language,
            target_language=data.target_language,
            **{**PRESETS[self.preset], **overrides, **ids},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyRecipe:
    """[vocabulary]: SentencePiece models with byte fallback, one per side or one joint.

    `normalization` of the source: "nfkc" (SentencePiece's NMT NFKC), or "width", which makes plain
    letters, digits and marks of full-width ones and leaves everything else, so that it can be
    copied. With `fold_traditional` traditional Chinese characters are read as simplified ones.
    """

    size: int = limited(8000, low=1, high=1_000_000)
    algorithm: Literal["unigram", "bpe"] = "unigram"
    joint: bool = False
    character_coverage: float = limited(0.9995, low=0.98, high=1)  # SentencePiece's limits
    max_sentences: int = limited(400_000, low=1, high=LARGEST)
    normalization: Literal["nfkc", "width"] = "nfkc"
    fold_traditional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """[training]: Adam with warm-up and inverse square root decay (section 5.3), and the rest.

    `max_tokens` bounds a batch: pairs x longest side, padding included. An update is over
    `accumulate_steps` batches, which the processes share if there are several. `compile` hands the
    layers to torch.compile: minutes at the start, for speed on CUDA. `precision` "auto" is what a
    trial shows to be faster here, and stays so when the training is resumed. `optimizer` "muon" is
    not the paper's: see muon.py; it needs fewer steps, at the same rates. `learning_rate` is the
    peak, reached after `warmup_steps`; None takes the paper's d_model^-0.5 warmup_steps^-0.5. With
    `warmup` "none" the rate is at the peak from the first step on, and falls as it does otherwise.
    The last `cooldown_steps` bring it down to zero in a straight line. `average_checkpoints` is how
    many of the last validations' weights are averaged into `average`. Training ends early after
    `stop_after_no_gain` validations without a lower loss, or a higher chrF of the greedy
    translations, as `stop_metric` says. `validation_tokenizer` is sacrebleu's for BLEU: None
    chooses by the target language, "none" is for corpora that are tokenized already.
    """

    max_steps: int = limited(100_000, low=1, high=LARGEST)
    max_tokens: int = limited(4096, low=1, high=LARGEST)
    accumulate_steps: int = limited(1, low=1, high=LARGEST)
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float | None = limited(None, above=0)
    warmup_steps: int = limited(4000, low=1, high=LARGEST)
    warmup: Literal["linear", "none"] = "linear"
    cooldown_steps: int = limited(0, low=0, high=LARGEST)
    label_smoothing: float = limited(0.1, low=0, below=1)
    adam_betas: tuple[float, float] = limited((0.9, 0.98), low=0, below=1)
    adam_epsilon: float = limited(1e-9, above=0, below=1)
    weight_decay: float = limited(0.0, low=0)
    clip_norm: float = limited(1.0, low=0)
    seed: int = limited(1, low=0, high=LARGEST_SEED)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    log_steps: int = limited(50, low=1, high=LARGEST)
    validate_steps: int = limited(1000, low=1, high=LARGEST)
    validation_max_sentences: int = limited(500, low=1, high=LARGEST)
    validation_max_length: int = limited(100, low=1, high=LARGEST)
    validation_tokenizer: Literal["13a", "intl", "char", "zh", "none"] | None = None
    average_checkpoints: int = limited(5, low=1, high=LARGEST)
    stop_after_no_gain: int | None = limited(None, low=1, high=LARGEST)
    stop_metric: Literal["loss", "chrf"] = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole recipe file, and its text if it was read from one."""

    data: DataRecipe
    model: ModelRecipe = field(default_factory=ModelRecipe)
    vocabulary: VocabularyRecipe = field(default_factory=VocabularyRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    text: str = internal("")


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; the paths of its corpora are then relative to the working directory.

    Raises:
        TrainError: not readable, not TOML, an unknown or missing key, a value of the wrong type
    """
    text = _read_text(path)
    recipe = recipe_of(_parse_toml(text, path), str(path))
    data = dataclasses.replace(
        recipe.data,
        train=tuple(corpus.relative_to(path.parent) for corpus in recipe.data.train),
        validation=recipe.data.validation.relative_to(path.parent),
    )
    return dataclasses.replace(recipe, data=data, text=text)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        TrainError: not readable or not TOML
    """
    return _parse_toml(_read_text(path), path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path}: cannot be read: {error}") from error


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # such as a number of thousands of digits
        raise TrainError(f"{path}: not TOML: {error}") from error


def load_checked(kind: type[T], tree: Any, where: str) -> T:
    """Build a dataclass from parsed TOML or JSON; `where` names the file in errors.

    Raises:
        TrainError: an unknown or missing key, a value of the wrong type or outside its limits
    """
    try:
        return load_dataclass(kind, tree, where)
    except SchemaError as error:
        raise TrainError(str(error)) from error


def recipe_of(tree: dict[str, Any], where: str) -> Recipe:
    """Check a recipe that is parsed already; `where` names it in errors.

    Raises:
        TrainError: an unknown or missing key, a value of the wrong type or that makes no sense
    """
    recipe = load_checked(Recipe, tree, where)
    _check(recipe, where)
    return recipe


def load_model_config(path: Path) -> TransformerConfig:
    """Read a checkpoint's config.json.

    Raises:
        TrainError: missing, not JSON, or not a model configuration
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: not found; is this a checkpoint written by `tfm train`?"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise TrainError(f"{path}: cannot be read as JSON: {error}") from error
    if isinstance(tree, dict):
        tree = {OLD_KEYS.get(key, key): value for key, value in tree.items()}
    return load_checked(TransformerConfig, tree, str(path))


def _check(recipe: Recipe, path: str) -> None:
    """Refuse values that are of the right type and still make no sense."""
    data, training = recipe.data, recipe.training
    if not data.train:
        raise TrainError(f"{path}: data.train is empty; name at least one corpus")
    for corpus in (*data.train, data.validation):
        sides = (corpus.source is not None) + (corpus.target is not None)
        if sides != (2 if corpus.path is None else 0):
            raise TrainError(f"{path}: a corpus needs either path (a .tsv) or source and target")
        if corpus.reverse and corpus.path is None:
            raise TrainError(
                f"{path}: reverse is for a .tsv: exchange source {corpus.source!r} and "
                f"target {corpus.target!r} instead"
            )
        if corpus.augmentation == "names" and not corpus.names:
            raise TrainError(f"{path}: augmentation 'names' needs names, a list of .tsv files")
        if corpus.augmentation is None and (
            corpus.names or corpus.kinds or corpus.made_up_persons or corpus.variants > 1
        ):
            raise TrainError(f"{path}: names, kinds and variants need an augmentation")
        if corpus.until_epoch is not None and corpus.until_epoch <= corpus.from_epoch:
            raise TrainError(
                f"{path}: from_epoch {corpus.from_epoch}, until_epoch {corpus.until_epoch}: "
                "choose until_epoch above from_epoch"
            )
    if recipe.vocabulary.fold_traditional and recipe.vocabulary.joint:
        raise TrainError(
            f"{path}: fold_traditional would change the target of a joint vocabulary, too: "
            "set joint = false"
        )
    if training.max_tokens < data.max_length + 2:
        raise TrainError(
            f"{path}: max_tokens {training.max_tokens} is below max_length {data.max_length} + 2 "
            "(BOS and EOS): one pair would not fit a batch; raise max_tokens"
        )
    try:  # dimensions that do not fit each other, before any corpus is read
        recipe.model.build(data, 1, 1 if recipe.vocabulary.joint else 2)
    except TrainError as error:
        raise TrainError(f"{path}: {error}") from error

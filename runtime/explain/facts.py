"""Everything that a page or a picture shows about one sentence, as numbers.

Shapes: L encoder layers, M decoder layers, H heads, S source tokens, T target tokens,
D d_model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.alignment import alignment_weights
from tfm.runtime.alignment_heads import AlignmentHeads, default_heads
from tfm.runtime.arguments import checked_sentences
from tfm.runtime.config import ModelConfig
from tfm.runtime.decode import beams
from tfm.runtime.errors import TfmError
from tfm.runtime.options import DecodingOptions, declared_options
from tfm.runtime.scoring import Attention, ScoredPair, score_ids
from tfm.runtime.search import ScoredIds
from tfm.runtime.search_tree import SearchTree, search_with_tree
from tfm.runtime.sessions import Sessions
from tfm.runtime.tokenizer import Tokenizer
from tfm.runtime.translator import Translator

from .sinusoids import sinusoids

MOST_WEIGHTS = 4_000_000  # of attention: a page of 15 MB
MOST_BEAMS = 32
_WEIGHT_SCALE = 10_000  # weights are whole numbers in JSON: ten-thousandths take half the space
_WAVE_SCALE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What a model does with one sentence.

    Attributes:
        model: facts about the model, its variant and device
        options: the decoding options that decided, by name
        source: the sentence
        target: its translation, the one that is explained
        own: whether that is the model's own
        own_translation: what the model itself writes
        own_score: its score by search.py's rule "score"
        source_tokens: [S] names of tokens; a language's token and EOS too
        target_tokens: [T] the same; EOS last, unless the translation was cut at max_length
        given: how many target tokens were not the model's choice: language, target prefix
        log_probs: [T] of each target token, in nats
        attention: of each layer and head
        heads: those that align words best
        alignment: [T, S] what their mean looks at when each target token is aligned; zeros where
            nothing is known
        tree: of the search for the model's own translation; None if it was drawn at random
        path: the model's own translation in it: places in each step
        tree_tokens: name of each token in it, by id
        waves: [max(S, T), D] position encodings
    """

    model: dict[str, Any]
    options: dict[str, Any]
    source: str
    target: str
    own: bool
    own_translation: str
    own_score: float
    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    given: int
    log_probs: tuple[float, ...]
    attention: Attention
    heads: AlignmentHeads
    alignment: NDArray[np.float32]
    tree: SearchTree | None
    path: tuple[int, ...]
    tree_tokens: dict[int, str]
    waves: NDArray[np.float32]

    def to_json(self) -> dict[str, Any]:
        """The same as what JSON has: numbers, texts, lists.

        Weights of attention are in ten-thousandths, position encodings in hundredths: `scale`.
        """
        attention = self.attention
        return {
            "model": self.model,
            "options": self.options,
            "source": self.source,
            "target": self.target,
            "own": self.own,
            "own_translation": self.own_translation,
            "own_score": round(self.own_score, 4),
            "source_tokens": self.source_tokens,
            "target_tokens": self.target_tokens,
            "given": self.given,
            "log_probs": [round(value, 4) for value in self.log_probs],
            "attention": {
                "scale": _WEIGHT_SCALE,
                "encoder": _whole(attention.encoder, _WEIGHT_SCALE),
                "decoder": _whole(attention.decoder, _WEIGHT_SCALE),
                "cross": _whole(attention.cross, _WEIGHT_SCALE),
            },
            "alignment": {
                "layer": self.heads.layer,
                "heads": self.heads.heads,
                "weights": _whole(self.alignment, _WEIGHT_SCALE),
            },
            "search": None if self.tree is None else self._tree_json(self.tree),
            "positions": {"scale": _WAVE_SCALE, "values": _whole(self.waves, _WAVE_SCALE)},
        }

    def _tree_json(self, tree: SearchTree) -> dict[str, Any]:
        steps = [
            [
                {
                    "token": self.tree_tokens[node.token],
                    "parent": node.parent,
                    "score": round(node.score, 4),
                    "log_prob": round(node.log_prob, 4),
                    "fate": str(node.fate),
                    "final": None if node.final_score is None else round(node.final_score, 4),
                }
                for node in nodes
            ]
            for nodes in tree.steps
        ]
        prefix = [self.tree_tokens[token] for token in tree.prefix]
        return {"prefix": prefix, "steps": steps, "path": self.path}


def explain(
    translator: Translator,
    source: str,
    target: str | None = None,
    options: DecodingOptions | None = None,
    *,
    source_language: str | None = None,
    target_language: str | None = None,
    **changes: Any,
) -> Explanation:
    """Gather what the model does with a sentence.

    Args:
        target: the translation to explain; None is the model's own
        options, changes: as `Translator.translate_batch` has them

    Raises:
        TfmError: there is nothing to explain, or too much for one page
        ModelError: the model has no score.onnx: an older tfm exported it
        ValueError, TypeError, TranslationError: as `Translator.translate_batch`
    """
    checked_sentences([source] if target is None else [source, target])
    config, sessions, tokenizer = translator.config, translator.sessions, translator.tokenizer
    options = (options or translator.options).changed(**changes)
    options.check_vocabulary(config.architecture.target_vocab_size)
    first, begins = config.languages.prefixes(source_language, target_language)
    if beams(options) > MOST_BEAMS:
        raise TfmError(f"{beams(options)} beams are too many to be seen: at most {MOST_BEAMS}")
    (source_ids,) = tokenizer.encode([source], first)
    if not source_ids:
        raise TfmError("there is nothing to explain: the sentence has no text")
    _check_size(config, len(source_ids), 1)
    given = [*begins, *tokenizer.encode_target_prefix(options.target_prefix)]
    best, tree = _search(translator, source_ids, options, given)
    own_ids = [*given, *best.ids]
    eos_id = config.special_ids.eos_id
    if target is None:
        cut = len(best.ids) >= options.length_limit(len(source_ids))
        target_ids = [*own_ids] if cut else [*own_ids, eos_id]
    else:
        given = begins
        target_ids = [*begins, *tokenizer.encode_target([target])[0], eos_id]
    _check_size(config, len(source_ids), len(target_ids))
    (pair,) = score_ids(config, sessions, [source_ids], [target_ids], with_attention=True)
    (own_translation,) = tokenizer.decode([own_ids[len(begins) :]])
    shape = config.architecture
    heads = config.alignment or default_heads(shape.decoder_layers, shape.num_heads)
    return Explanation(
        model=_model_facts(config, sessions, source_language, target_language),
        options=_options_shown(options),
        source=source,
        target=own_translation if target is None else target,
        own=target is None,
        own_translation=own_translation,
        own_score=best.score,
        source_tokens=tokenizer.pieces(source_ids, of_source=True),
        target_tokens=tokenizer.pieces(target_ids, of_source=False),
        given=len(given),
        log_probs=pair.log_probs,
        attention=_attention(pair),
        heads=heads,
        alignment=_alignment(_attention(pair), heads),
        tree=tree if tree.steps else None,
        path=tuple(tree.path(best.ids, eos_id)) if tree.steps else (),
        tree_tokens=_names(tree, tokenizer),
        waves=_waves(config, max(len(source_ids), len(target_ids))),
    )


def _names(tree: SearchTree, tokenizer: Tokenizer) -> dict[int, str]:
    """The name of each token in a tree, by id."""
    ids = sorted({node.token for nodes in tree.steps for node in nodes} | set(tree.prefix))
    return dict(zip(ids, tokenizer.pieces(ids, of_source=False), strict=True))


def _search(
    translator: Translator,
    source: Sequence[int],
    options: DecodingOptions,
    prefix: Sequence[int],
) -> tuple[ScoredIds, SearchTree]:
    """The best hypothesis of the model, and how it was found."""
    special_ids = translator.config.special_ids
    (best, *_), tree = search_with_tree(
        translator.sessions.encode([source], beams(options)),
        source,
        options,
        bos_id=special_ids.bos_id,
        eos_id=special_ids.eos_id,
        unk_id=special_ids.unk_id,
        token_texts=translator.tokenizer.target_texts,
        target_prefix=prefix,
    )
    return best, tree


def _check_size(config: ModelConfig, source: int, target: int) -> None:
    """Raise TfmError where there are more weights of attention than a page can hold."""
    shape = config.architecture
    by_layers = shape.encoder_layers * source**2
    by_layers += shape.decoder_layers * target * (source + target)
    if by_layers * shape.num_heads > MOST_WEIGHTS:
        raise TfmError(
            f"{source} source and {target} target tokens have"
            f" {by_layers * shape.num_heads} weights of attention, and a page shows at most"
            f" {MOST_WEIGHTS}: explain a shorter sentence"
        )


def _attention(pair: ScoredPair) -> Attention:
    assert pair.attention is not None  # it was asked for
    return pair.attention


def _alignment(attention: Attention, heads: AlignmentHeads) -> NDArray[np.float32]:
    """[T, S], zeros in the row of EOS."""
    weights = np.zeros(attention.cross.shape[2:], np.float32)
    weights[:-1] = alignment_weights(attention.cross, heads)
    return weights


def _waves(config: ModelConfig, count: int) -> NDArray[np.float32]:
    shape = config.architecture
    return sinusoids(count, shape.d_model, shape.positions or "paper", shape.first_position)


def _model_facts(
    config: ModelConfig,
    sessions: Sessions,
    source_language: str | None,
    target_language: str | None,
) -> dict[str, Any]:
    shape = config.architecture
    return {
        "name": config.name,
        "variant": sessions.choice.variant,
        "device": sessions.choice.device,
        "tfm": version("tfm"),
        "source_language": source_language or config.languages.source,
        "target_language": target_language or config.languages.target,
        "parameters": shape.parameters,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "num_heads": shape.num_heads,
        "d_model": shape.d_model,
        "decoder_autoregression": shape.decoder_autoregression,
        "positions": shape.positions,
        "first_position": shape.first_position,
        "chosen_heads": config.alignment is not None,
    }


def _options_shown(options: DecodingOptions) -> dict[str, Any]:
    """The options that differ from their defaults, and those that decide every search."""
    names = {"length_penalty", *options.set_options()}
    if not options.temperature:
        names.add("beam_size")
    return {
        name: list(value) if isinstance(value := getattr(options, name), tuple) else value
        for name, _, _ in declared_options(type(options))
        if name in names
    }


def _whole(values: NDArray[np.float32], scale: int) -> Any:
    """Nested lists of whole numbers: the values times the scale."""
    return np.rint(values * scale).astype(np.int64).tolist()

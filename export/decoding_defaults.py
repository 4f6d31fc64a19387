"""The decoding options that a model folder has as its own.

A model that was trained here has those of DecodingOptions. An imported one brings its own, in
transformers' words (generation_config.json, or config.json in older folders) or in Marian's
(decoder.yml, which `tfm import` keeps as decoder.json).
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfm.export.errors import ExportError
from tfm.runtime.options import LARGEST_INTEGER, DecodingOptions
from tfm.trainer.checkpoint import ORIGIN

logger = logging.getLogger(__name__)

# transformers' name and ours, where the meaning is the same.
SAME_MEANING = {
    "num_beams": "beam_size",
    "length_penalty": "length_penalty",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "suppress_tokens": "suppress_ids",
}
# Ours, and the tokens that transformers counts and tfm does not: the one that decoding starts with,
# where it is no "new" one, and in the shortest translation EOS. Later rows have precedence.
LENGTHS = {
    "max_length": ("max_length", 1),
    "max_new_tokens": ("max_length", 0),
    "min_length": ("min_length", 2),
    "min_new_tokens": ("min_length", 1),
}
# Settings that change what transformers writes and that have no option here, with the value that
# changes nothing.
WITHOUT_OPTION: dict[str, Any] = {
    "do_sample": False,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "begin_suppress_tokens": None,
    "force_words_ids": None,
    "constraints": None,
    "dola_layers": None,
    "forced_decoder_ids": None,
    "guidance_scale": None,
    "max_time": None,
    "num_return_sequences": 1,
    "penalty_alpha": None,
    "stop_strings": None,
    "token_healing": False,
    "watermarking_config": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
}
# Marian's name and ours, where the meaning is the same; and those without an option here.
MARIANS = {"beam-size": ("beam_size", int), "normalize": ("length_penalty", float)}
MARIANS_WITHOUT_OPTION = {"word-penalty": "0", "allow-unk": "false", "shortlist": []}


def decoding_defaults(checkpoint: Path, vocab_size: int = LARGEST_INTEGER) -> DecodingOptions:
    """The options of a checkpoint's model, before anybody changes them.

    What transformers would do and tfm cannot is named in a warning. Two things stay different:
    transformers applies rules to log-probabilities in beam search (here they apply to logits, as
    in CTranslate2), and its lengths count the token that decoding starts with. A value that
    makes no sense is left out with a warning. Of Marian's search three things stay different: it
    lets its beam shrink by every finished hypothesis, ends at three times the source's length
    (max-length-factor), and forbids unknown tokens after the softmax instead of before it.

    Args:
        vocab_size: tokens of the target vocabulary; ids beyond it are left out with a warning

    Raises:
        ExportError: a file of the imported model is not a JSON object
    """
    described = checkpoint / ORIGIN / "decoder.json"
    if described.exists():
        return _of_marian(_read_object(described))
    settings: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):  # the second has precedence
        path = checkpoint / ORIGIN / name
        if path.exists():
            settings.update(_read_object(path))
    options = DecodingOptions()
    for theirs, ours in SAME_MEANING.items():
        changed = _with(options, ours, settings, theirs, settings.get(theirs))
        try:
            changed.check_vocabulary(vocab_size)
            options = changed
        except ValueError as error:
            _warn(theirs, settings[theirs], error)
    for theirs, (ours, uncounted) in LENGTHS.items():
        value = settings.get(theirs)
        if isinstance(value, int):
            value = max(value - uncounted, 0)
        options = _with(options, ours, settings, theirs, value)
    for theirs, neutral in WITHOUT_OPTION.items():
        value = settings.get(theirs, neutral)
        if value not in (neutral, None):
            logger.warning("the imported model's %s = %s is not carried over", theirs, value)
    return options


def _of_marian(settings: Mapping[str, Any]) -> DecodingOptions:
    options = DecodingOptions()
    for theirs, (ours, kind) in MARIANS.items():
        if theirs in settings:
            try:
                options = options.changed(**{ours: kind(settings[theirs])})
            except (TypeError, ValueError) as error:
                _warn(theirs, settings[theirs], ValueError(error))
    for theirs, neutral in MARIANS_WITHOUT_OPTION.items():
        value = settings.get(theirs, neutral)
        if value != neutral:
            logger.warning("the imported model's %s = %s is not carried over", theirs, value)
    return options


def _read_object(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # of the encoding or of JSON
        raise ExportError(f"{path}: not JSON: {error}; import the model again") from error
    if not isinstance(tree, dict):
        raise ExportError(f"{path}: not a JSON object; import the model again")
    return tree


def _with(
    options: DecodingOptions, name: str, settings: Mapping[str, Any], theirs: str, value: Any
) -> DecodingOptions:
    try:
        return options.changed(**{name: value})
    except ValueError as error:
        _warn(theirs, settings[theirs], error)
        return options


def _warn(name: str, value: Any, error: ValueError) -> None:
    logger.warning("the imported model's %s = %s is not carried over: %s", name, value, error)

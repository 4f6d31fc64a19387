"""The decoding options that a model folder has as its own.

A model that was trained here has those of DecodingOptions. An imported one brings its own, in
transformers' words (generation_config.json, or config.json in older folders).
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfm.runtime.options import DecodingOptions
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
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
}


def decoding_defaults(checkpoint: Path) -> DecodingOptions:
    """The options of a checkpoint's model, before anybody changes them.

    What transformers would do and tfm cannot is named in a warning. Two things stay different:
    transformers applies rules to log-probabilities in beam search (here they apply to logits, as
    in CTranslate2), and its lengths count the token that decoding starts with.
    """
    settings: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):  # the later one goes first, as there
        path = checkpoint / ORIGIN / name
        if path.exists():
            settings.update(json.loads(path.read_text("utf-8")))
    options = DecodingOptions()
    for theirs, ours in SAME_MEANING.items():
        options = _with(options, ours, settings, theirs, settings.get(theirs))
    if isinstance(settings.get("max_length"), int) and settings["max_length"] > 1:
        options = _with(options, "max_length", settings, "max_length", settings["max_length"] - 1)
    if isinstance(settings.get("min_length"), int) and settings["min_length"] > 1:
        options = _with(options, "min_length", settings, "min_length", settings["min_length"] - 2)
    for theirs, neutral in WITHOUT_OPTION.items():
        value = settings.get(theirs, neutral)
        if value not in (neutral, None):
            logger.warning("the imported model's %s = %s is not carried over", theirs, value)
    return options


def _with(
    options: DecodingOptions, name: str, settings: Mapping[str, Any], theirs: str, value: Any
) -> DecodingOptions:
    try:
        return options.changed(**{name: value})
    except ValueError as error:
        logger.warning(
            "the imported model's %s = %s is not carried over: %s", theirs, settings[theirs], error
        )
        return options

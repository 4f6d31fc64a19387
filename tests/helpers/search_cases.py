"""What every engine's search is tried with: for each decoding option, values that matter.

A field of DecodingOptions without a case here fails a test.
"""

import itertools
from dataclasses import dataclass, fields
from typing import Any

from tfm.runtime.options import DecodingOptions


@dataclass(frozen=True)
class SearchCase:
    """Options, and the token ids of the target prefix (text needs a vocabulary, ids do not)."""

    options: DecodingOptions
    prefix: tuple[int, ...] = ()

    def __str__(self) -> str:
        changed = " ".join(f"{k}={v}" for k, v in self.options.set_options().items())
        return changed + (f" prefix={self.prefix}" if self.prefix else "")


def text_of(*ids: int) -> str:
    """What tokens say, where there is no vocabulary: each a Chinese character of its own."""
    return "".join(chr(0x4E00 + token_id) for token_id in ids)


def case(prefix: tuple[int, ...] = (), **changes: Any) -> SearchCase:
    return SearchCase(DecodingOptions(**{"max_length": 12, **changes}), prefix)


# By the option that a case is about.
CASES: dict[str, list[SearchCase]] = {
    "beam_size": [case(beam_size=size) for size in (1, 2, 5)],
    "num_hypotheses": [case(num_hypotheses=n) for n in (2, 4)],
    "length_penalty": [
        *(case(length_penalty=penalty, num_hypotheses=2) for penalty in (0.0, 0.6, 2.0)),
        *(case(length_penalty=penalty, beam_size=1) for penalty in (0.0, 0.6)),
    ],
    "max_length": [
        *(case(max_length=length, num_hypotheses=2) for length in (1, 2, 7, 8, 9, 17)),
        *(case(max_length=length, beam_size=1) for length in (1, 6, 40)),
    ],
    "max_length_factor": [
        case(max_length_factor=0.01, max_length=40, num_hypotheses=2),
        case(max_length_factor=1.1, max_length=11, beam_size=1),
        case(max_length_factor=1.3, max_length=40, num_hypotheses=3, length_penalty=0.0),
        case(max_length_factor=0.9, max_length=40, min_length=10, prefix=(9, 21), beam_size=2),
        case(max_length_factor=1.5, max_length=20, temperature=1.0, num_hypotheses=2),
    ],
    "min_length": [
        case(min_length=1),
        case(min_length=9, beam_size=1),
        case(min_length=5, num_hypotheses=3, length_penalty=0.0),
        case(min_length=12),
    ],
    "patience": [
        case(patience=2.0, num_hypotheses=4),
        case(patience=0.5, num_hypotheses=2),
        case(patience=0.1),
        case(patience=1.5, beam_size=3, num_hypotheses=3),
        case(patience=3.0, beam_size=1),
        case(patience=1e300, num_hypotheses=2),
    ],
    "target_prefix": [
        case(prefix=(7,), num_hypotheses=2),
        case(prefix=(9, 21, 9, 5), beam_size=1),
        case(prefix=(5, 6, 7, 8, 9, 10, 11, 12, 13, 14), num_hypotheses=4, length_penalty=0.6),
        case(prefix=(30, 8), min_length=4, max_length=4),
    ],
    "suppress_ids": [
        case(suppress_ids=(5, 6, 7)),
        case(suppress_ids=tuple(range(10, 30)), beam_size=1),
        case(suppress_ids=(8,), prefix=(8, 9), num_hypotheses=3),
    ],
    "suppress_texts": [
        case(suppress_texts=tuple(text_of(i, i) for i in (2, 15, 29, 42, 49, 261))),
        case(suppress_texts=(text_of(49), text_of(35), text_of(261), text_of(10)), beam_size=1),
        case(
            suppress_texts=(text_of(8, 9, 10), text_of(9, 49), text_of(49, 49, 49)), prefix=(8, 9)
        ),
        case(suppress_texts=(text_of(29),), num_hypotheses=3, temperature=1.0),
    ],
    "suppress_unk": [
        case(suppress_unk=True, suppress_ids=tuple(range(4, 45)), num_hypotheses=2),
        case(suppress_unk=True, beam_size=1, prefix=(1, 1)),
        case(suppress_unk=True, temperature=100.0, num_hypotheses=4, max_length=40),
    ],
    "repetition_penalty": [
        case(repetition_penalty=1.8, num_hypotheses=2),
        case(repetition_penalty=1.3, beam_size=1),
        case(repetition_penalty=0.7),
        case(repetition_penalty=2.0, prefix=(12, 13, 14), min_length=3),
    ],
    "no_repeat_ngram_size": [
        case(no_repeat_ngram_size=1, num_hypotheses=2),
        case(no_repeat_ngram_size=2, beam_size=1),
        case(no_repeat_ngram_size=3, repetition_penalty=0.5, num_hypotheses=3),
        case(no_repeat_ngram_size=2, prefix=(9, 10, 9), min_length=6),
    ],
    "temperature": [
        case(temperature=1.0, num_hypotheses=3),
        case(temperature=0.5, beam_size=1),
        case(temperature=1.5, prefix=(9, 10), min_length=3, length_penalty=0.0),
        case(temperature=1.0, repetition_penalty=1.5, suppress_ids=(5, 6), max_length=5),
    ],
    "top_k": [
        case(temperature=1.0, top_k=3, num_hypotheses=2),
        case(temperature=2.0, top_k=1),
        case(temperature=1.0, top_k=100_000),
    ],
    "top_p": [
        case(temperature=1.0, top_p=0.5, num_hypotheses=2),
        case(temperature=1.3, top_p=0.9, top_k=5),
        case(temperature=1.0, top_p=1e-6),
    ],
    "seed": [case(temperature=1.0, seed=7), case(temperature=1.0, seed=2**31 - 1)],
}

# What the first four mean together.
GRID = [
    case(beam_size=size, num_hypotheses=n, length_penalty=penalty, max_length=length)
    for size, n, penalty, length in itertools.product(
        (1, 2, 4, 5), (1, 2, 4), (0.0, 0.6, 1.0, 2.0), (1, 2, 5, 20)
    )
    if n <= size
]


def for_ctranslate2(case: SearchCase) -> SearchCase | None:
    """The case as CTranslate2 can have it; None where it has nothing like it.

    It refuses fewer than num_hypotheses / beam_size of patience, and its beam search never ends a
    hypothesis right after a target prefix.
    """
    options = case.options
    if options.temperature:  # it draws other random numbers
        return None
    if not options.num_hypotheses <= options.patience * options.beam_size < 1e9:
        return None
    if case.prefix and not options.min_length:
        return SearchCase(options.changed(min_length=1), case.prefix)
    return case


def options_without_a_case() -> set[str]:
    return {field.name for field in fields(DecodingOptions)} - CASES.keys()

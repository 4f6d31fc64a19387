"""Sentences in capitals, for models that learned few of them."""

from collections.abc import Iterator
from itertools import groupby

LEAST_LETTERS = 6  # fewer may be an abbreviation: IT, USA, AC/DC


def fold_capitals(sentence: str) -> str:
    """A sentence that is all in capitals, in small letters but for its first; others unchanged.

    Every character stays where it is. Words with digits and single words, which may be names or
    codes, are left alone.
    """
    if sentence.lower() == sentence or any(map(str.islower, sentence)):
        return sentence
    words = list(_cased_words(sentence))
    if len(words) < 2 or sum(end - begin for begin, end in words) < LEAST_LETTERS:
        return sentence
    folded = list(sentence)
    for number, (begin, end) in enumerate(words):
        if sentence[begin:end] != "I":
            first = begin + (number == 0)
            folded[first:end] = map(_small, sentence[first:end])
    return "".join(folded)


def _cased_words(sentence: str) -> Iterator[tuple[int, int]]:
    """Where words with capitals begin and end; those beside a digit are left out."""
    for is_word, letters in groupby(range(len(sentence)), lambda at: sentence[at].isalpha()):
        places = list(letters)
        begin, end = places[0], places[-1] + 1
        around = sentence[max(0, begin - 1) : begin] + sentence[end : end + 1]
        word = sentence[begin:end]
        if is_word and word.lower() != word and not any(map(str.isdecimal, around)):
            yield begin, end


def _small(char: str) -> str:
    """The small letter; the same letter where it has two characters."""
    small = char.lower()
    return small if len(small) == 1 else char

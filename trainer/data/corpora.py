"""Parallel text from files, one pair after the other: a corpus may be larger than memory."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfm.runtime.errors import TfmError
from tfm.runtime.files.text import read_lines
from tfm.trainer.errors import TrainError

from .augmentation import Names, augment
from .recipe import CorpusRecipe

MAX_LISTED = 12  # corpora that an error names
FOREVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Group:
    """The pairs of one corpus of one [[data.train]]: how often an epoch draws each of them."""

    corpus: str
    weight: float
    from_epoch: int  # the first epoch that draws them
    until_epoch: int  # the first epoch after it that leaves them out


class Corpora:
    """The pairs of several corpora; read anew, in the same order, each time it is iterated over."""

    def __init__(self, recipes: Sequence[CorpusRecipe]) -> None:
        """Nothing is read yet."""
        self.recipes = recipes
        self.groups: list[Group] = []  # of the pairs that were read so far
        self._indices: dict[tuple[int, str], int] = {}

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """Source, target and the index of the pair's group in `groups`; neither side is empty, and
        no weight is 0.

        Raises:
            TrainError: a file is missing or not UTF-8, a line has no tab, sides differ in length,
                or nothing is left
        """
        left = 0
        for number, recipe in enumerate(self.recipes):
            names: set[str] = set()
            for source, target, corpus in _augmented(recipe, names):
                weight = recipe.corpora.get(corpus, recipe.weight)
                if weight > 0 and source and target:
                    left += 1
                    yield source, target, self._index(number, corpus, weight)
            for name in recipe.corpora:
                if name not in names:
                    raise TrainError(
                        f"{recipe.path or recipe.source}: no corpus {name!r}; it holds "
                        f"{', '.join(sorted(names)[:MAX_LISTED])}"
                        f"{f' and {len(names) - MAX_LISTED} others' * (len(names) > MAX_LISTED)}"
                    )
        if not left:
            raise TrainError("the corpora hold no sentence pair with a weight above 0")

    def files(self) -> list[Path]:
        """Every file that is read."""
        return [path for recipe in self.recipes for path in recipe.files()]

    def check(self) -> None:
        """Raise TrainError unless every file is there: before anything that takes long."""
        for path in self.files():
            if not path.exists():
                raise _not_found(path)

    def _index(self, number: int, corpus: str, weight: float) -> int:
        index = self._indices.setdefault((number, corpus), len(self.groups))
        if index == len(self.groups):
            recipe = self.recipes[number]
            until = FOREVER if recipe.until_epoch is None else recipe.until_epoch
            self.groups.append(Group(corpus, weight, recipe.from_epoch, until))
        return index


@dataclass(frozen=True, slots=True)
class ParallelText:
    """Aligned sentences, and the name of the corpus that each pair is of."""

    sources: list[str]
    targets: list[str]
    corpora: list[str]

    def __len__(self) -> int:
        return len(self.sources)

    def sample(self, count: int) -> tuple[list[str], list[str]]:
        """Sources and targets of at most `count` pairs, spread evenly over the text."""
        indices = evenly_spaced(len(self), count)
        return [self.sources[i] for i in indices], [self.targets[i] for i in indices]


def evenly_spaced(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` indices of a sequence, evenly spaced; from two on, both ends are there."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(np.int64))


def read_corpora(recipes: Sequence[CorpusRecipe]) -> ParallelText:
    """All pairs of the corpora at once; how often to draw them is forgotten.

    Raises:
        TrainError: as `Corpora`
    """
    corpora = Corpora(recipes)
    sources, targets, indices = [], [], []
    for source, target, index in corpora:
        sources.append(source)
        targets.append(target)
        indices.append(index)
    return ParallelText(sources, targets, [corpora.groups[index].corpus for index in indices])


def draw_sample(
    corpora: Corpora,
    count: int,
    seed: int,
    read: Iterable[tuple[str, str, int]] | None = None,
) -> ParallelText:
    """At most `count` pairs, drawn by their weights (1 and more: every pair), of what may be far
    more than fits into memory.

    Args:
        read: the corpora, with something around them that shows how far they were read

    Raises:
        TrainError: as `Corpora`
    """
    generator = np.random.default_rng(seed)
    sample: list[tuple[str, str, int]] = []
    seen = 0
    for pair in corpora if read is None else read:
        weight = corpora.groups[pair[2]].weight
        if weight < 1 and generator.random() >= weight:
            continue
        seen += 1
        if len(sample) < count:
            sample.append(pair)
        elif (index := int(generator.integers(seen))) < count:  # reservoir sampling
            sample[index] = pair
    names = [corpora.groups[index].corpus for _, _, index in sample]
    return ParallelText([s for s, _, _ in sample], [t for _, t, _ in sample], names)


def read_pairs(recipe: CorpusRecipe) -> Iterator[tuple[str, str, str]]:
    """Source, target and corpus of every line, empty ones too.

    Raises:
        TrainError: a file is missing or not UTF-8, a line has no tab, or sides differ in length
    """
    if recipe.path is not None:
        path = Path(recipe.path)
        for number, line in enumerate(_without_blank_end(_read_lines(path)), start=1):
            columns = line.split("\t")
            if len(columns) < 2:
                raise TrainError(
                    f"{path}, line {number}: no tab in {line[:40]!r}; expected source<TAB>target"
                )
            corpus = columns[2].strip() if len(columns) > 2 else path.name
            first, second = columns[0].strip(), columns[1].strip()
            yield (second, first, corpus) if recipe.reverse else (first, second, corpus)
        return
    source_path, target_path = recipe.files()[:2]
    sources, targets = _read_lines(source_path), _read_lines(target_path)
    for before, (source, target) in enumerate(itertools.zip_longest(sources, targets)):
        if source is None or target is None:
            rest = [source or target or "", *(targets if source is None else sources)]
            if not "".join(rest).strip():
                return  # blank lines at the end of one of the files
            longer = before + len(rest)
            counts = (before, longer) if source is None else (longer, before)
            raise TrainError(
                f"{source_path} has {counts[0]} lines and {target_path} has {counts[1]}: "
                "they must be aligned line by line"
            )
        yield source.strip(), target.strip(), source_path.name


def _augmented(recipe: CorpusRecipe, corpora: set[str]) -> Iterator[tuple[str, str, str]]:
    """The pairs of a recipe, or what its augmentation makes of those with a weight; the names of
    all corpora that were read are added to `corpora`."""

    def read() -> Iterator[tuple[str, str, str]]:
        for source, target, corpus in read_pairs(recipe):
            corpora.add(corpus)
            if recipe.augmentation is None or (
                recipe.corpora.get(corpus, recipe.weight) > 0 and source and target
            ):
                yield source, target, corpus

    if recipe.augmentation is None:
        return read()
    lists = [_read_names(Path(path), recipe.kinds) for path in recipe.names]
    names = Names(lists, recipe.made_up_persons)
    return augment(read(), recipe.augmentation, names if recipe.names else None, recipe.variants)


def _read_names(path: Path, kinds: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Chinese name, English name and kind of each line of a list; where `kinds` is given, only
    lines whose kind it knows."""
    for chinese, english, column in read_pairs(CorpusRecipe(path=str(path))):
        if not kinds or column in kinds or column in kinds.values():
            yield chinese, english, kinds.get(column, column)


def _read_lines(path: Path) -> Iterator[str]:
    if not path.exists():
        raise _not_found(path)
    try:
        yield from read_lines(path)
    except TfmError as error:
        raise TrainError(str(error)) from error


def _without_blank_end(lines: Iterator[str]) -> Iterator[str]:
    """The lines up to the last that is not blank."""
    blank: list[str] = []
    for line in lines:
        if not line.strip(" \r"):
            blank.append(line)
            continue
        yield from blank
        blank.clear()
        yield line


def _not_found(path: Path) -> TrainError:
    return TrainError(f"{path}: corpus not found; paths are relative to the recipe")

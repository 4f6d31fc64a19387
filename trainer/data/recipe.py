"""[data] of a recipe: the corpora, how often each is drawn, and what is made of them."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from tfm.runtime.files.schema import limited, limits

from .augmentation import AugmentationName

LARGEST = 10**9  # whole number in a recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRecipe:
    """[[data.train]]: a .tsv of source<TAB>target[<TAB>corpus], or two aligned text files; any of
    them may be .xz, .gz or .zst.

    `weight` is how often each pair is drawn per epoch (0.5: every second epoch on average; 3: three
    times). `corpora` overrides it by the name in the third column. The corpus is drawn from in
    epochs `from_epoch` (counted from 0) up to `until_epoch`, that one left out. With `reverse` a
    .tsv's first two columns are target<TAB>source. In the file, paths are relative to the recipe.

    `augmentation` makes other pairs of these, and only those are trained on: see
    `data.augmentation.augment`. It knows names from the .tsv files in `names`: Chinese, English and
    the kind of name, or a word that `kinds` gives a kind for (lines of other kinds are then left
    out). Of the persons that it puts in, the share `made_up_persons` has a Chinese name made of
    frequent characters. Each pair is changed `variants` times.
    """

    path: str | None = None
    source: str | None = None
    target: str | None = None
    weight: float = limited(1.0, low=0, high=1000)
    corpora: dict[str, float] = field(default_factory=dict, metadata=limits(low=0, high=1000))
    from_epoch: int = limited(0, low=0, high=LARGEST)
    until_epoch: int | None = limited(None, low=1, high=LARGEST)
    reverse: bool = False
    augmentation: AugmentationName | None = None
    names: tuple[str, ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)
    made_up_persons: float = limited(0.0, low=0, high=1)
    variants: int = limited(1, low=1, high=100)

    def files(self) -> list[Path]:
        """The files of sentences: one, or source and target; then those of names."""
        sentences = [name for name in (self.path, self.source, self.target) if name is not None]
        return [Path(name) for name in (*sentences, *self.names)]

    def relative_to(self, folder: Path) -> "CorpusRecipe":
        """The same corpus, its relative paths taken from folder."""

        def joined(name: str | None) -> str | None:
            return None if name is None else str(folder / name)

        return dataclasses.replace(
            self,
            path=joined(self.path),
            source=joined(self.source),
            target=joined(self.target),
            names=tuple(str(folder / name) for name in self.names),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """[data]: the corpora. Pairs with a side over max_length tokens are left out of training."""

    train: tuple[CorpusRecipe, ...]
    validation: CorpusRecipe
    source_language: str = "source"
    target_language: str = "target"
    max_length: int = limited(128, low=1, high=LARGEST)

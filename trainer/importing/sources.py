"""What `tfm import` was given, and which of the importers takes it."""

from collections.abc import Sequence
from pathlib import Path

from tfm.runtime.files.folder_kind import IMPORTED, FolderKind, folder_kind, wrong_kind
from tfm.trainer.errors import TrainError
from tfm.trainer.model import Transformer

from .ctranslate2.files import ARCHIVE
from .ctranslate2.importer import import_ctranslate2
from .hugging_face import import_folder
from .marian.importer import import_marian

MARIAN_FILES = (".npz", ".bin", ".yml", ".yaml")


def import_source(
    source: Path,
    checkpoint: Path,
    vocabularies: Sequence[Path] = (),
    source_language: str | None = None,
    target_language: str | None = None,
) -> Transformer:
    """Write the checkpoint of a model that others trained.

    Args:
        source: a Hugging Face folder, or what `import_marian` or `import_ctranslate2` takes
        vocabularies: files of its vocabulary, where the source does not have or name them
        source_language: what the model translates from, or by default; None is what it says
        target_language: the same of the other side

    Raises:
        TrainError: the source is none of these, or something in it does not fit; nothing is written
    """
    kind = folder_kind(source) if source.is_dir() else None
    if kind is FolderKind.MARIAN or (not source.is_dir() and source.suffix in MARIAN_FILES):
        return import_marian(source, checkpoint, vocabularies, source_language, target_language)
    if kind is FolderKind.CTRANSLATE2 or (not source.is_dir() and source.suffix == ARCHIVE):
        return import_ctranslate2(
            source, checkpoint, vocabularies, source_language, target_language
        )
    if not source.is_dir():
        endings = ", ".join((*MARIAN_FILES, ARCHIVE))
        raise TrainError(f"{source}: a folder, or a file that ends in {endings}, is needed")
    if problem := wrong_kind(source, *IMPORTED):
        raise TrainError(problem)
    if vocabularies:
        raise TrainError(
            f"{source} has its vocabulary with it: --vocab {vocabularies[0]} is for Marian's own "
            "files"
        )
    return import_folder(source, checkpoint, source_language, target_language)

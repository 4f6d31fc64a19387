"""decoder.yml: the models, vocabularies and decoding options that Marian writes beside a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfm.runtime.files.regular import read_regular
from tfm.trainer.errors import TrainError
from tfm.trainer.importing.yaml_text import read_yaml_mapping

MOST_BYTES = 1 << 20
NAME = "decoder.yml"


@dataclass(frozen=True, slots=True)
class DecoderFile:
    """What a decoder.yml says.

    Attributes:
        model: the .npz or .bin
        vocabularies: of each side; empty where it names none
        options: all else, as text: `beam-size` and the like
    """

    model: Path
    vocabularies: tuple[Path, ...]
    options: dict[str, Any]


def read_decoder_yml(path: Path) -> DecoderFile:
    """Read a decoder.yml. The files it names have to lie in its folder or below.

    Raises:
        TrainError: no such file, no YAML, several models or none, or a file outside its folder
    """
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise TrainError(f"{path}: not found") from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    tree = read_yaml_mapping(content, path)
    models = _names(tree, "models", path)
    if len(models) != 1:
        raise TrainError(
            f"{path}: {len(models)} models: tfm imports one; of several together (an ensemble) "
            "import the best .npz"
        )
    return DecoderFile(
        model=_inside(path, models[0], "import it by its own name"),
        vocabularies=tuple(
            _inside(path, name, "give it with --vocab") for name in _names(tree, "vocabs", path)
        ),
        options={name: value for name, value in tree.items() if name not in ("models", "vocabs")},
    )


def _names(tree: dict[str, Any], key: str, path: Path) -> list[str]:
    names = tree.get(key) or []
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise TrainError(f"{path}: {key} is {names!r}: a list of file names is needed")
    return names


def _inside(path: Path, name: str, advice: str) -> Path:
    found = path.parent / name
    try:
        inside = found.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # such as a link to itself
        raise TrainError(f"{path}: {name!r} cannot be read: {error}") from error
    if not inside:
        raise TrainError(f"{path}: {name} lies outside its folder: {advice}")
    return found

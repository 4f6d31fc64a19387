"""YAML of other projects: a mapping whose scalars stay text.

YAML 1.1 reads `yes`, `null` and `1_000` as a truth value, nothing and a number. In a vocabulary
they are words, so nothing is converted here, and no object is ever built.
"""

from pathlib import Path
from typing import Any

from tfm.trainer.errors import TrainError


def read_yaml_mapping(content: bytes, where: str | Path) -> dict[str, Any]:
    """Parse a mapping; scalars are str, and lists and mappings stay lists and mappings.

    Args:
        where: names the file in errors

    Raises:
        TrainError: not UTF-8, not YAML, or no mapping
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        tree = yaml.load(content.decode("utf-8"), loader)
    except UnicodeDecodeError as error:
        raise TrainError(f"{where}: not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise TrainError(f"{where}: cannot be read as YAML: {reason}") from error
    except (RecursionError, ValueError) as error:
        raise TrainError(f"{where}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise TrainError(f"{where}: not a YAML mapping")
    return tree

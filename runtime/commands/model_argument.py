"""A model on the command line: a folder, or the name of a bundled model."""

from pathlib import Path
from typing import Any

import click

from tfm.runtime.bundled import BUNDLED_MODELS, bundled_model, is_bundled_name
from tfm.runtime.errors import ModelError


class ModelPath(click.Path):
    """The path of a model folder; a bundled model's name becomes the folder where it lies."""

    def __init__(self, *, file_okay: bool = False) -> None:
        """file_okay: files are taken as well."""
        super().__init__(exists=True, file_okay=file_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. A folder goes before a name; `./zh-en` is always a folder."""
        if isinstance(value, str) and is_bundled_name(value):
            try:
                return bundled_model(value)
            except ModelError as error:
                self.fail(str(error), param, ctx)
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if Path(value).exists():
                raise
            names = " and ".join(BUNDLED_MODELS)
            self.fail(f"{error.message} The bundled models are {names}.", param, ctx)

"""`tfm`: the commands of the runtime, and those that other packages bring."""

import click

from .command_group import CommandGroup
from .doctor import doctor
from .document import document
from .explain import explain
from .info import info
from .ray_folder import ray_folder
from .run import run
from .score import score
from .serve import serve
from .web import web


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfm", message="tfm %(version)s")
def cli() -> None:
    """Train a Transformer, export it to ONNX, translate anywhere."""


cli.add_command(run)
cli.add_command(info)
cli.add_command(score)
cli.add_command(explain)
cli.add_command(document)
cli.add_command(serve)
cli.add_command(doctor)
cli.add_command(ray_folder)
cli.add_command(web)

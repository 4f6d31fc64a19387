"""`tfm bench` and `tfm bench-training`.

Everything heavy is imported inside the commands, so that `tfm --help` stays fast.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from tfm.runtime.commands.options import decoding_options
from tfm.runtime.options import DecodingOptions

from .systems import PEERS

PARTS = ("cells", "mixed", "latency", "fresh", "operators")


def _list_of(item: "click.ParamType[Any]") -> Callable[..., list[Any] | None]:
    """A callback for values of one type, separated by commas, each kept once."""

    def convert(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> list[Any] | None:
        if value is None:
            return None
        parts = (part.strip() for part in value.split(","))
        return list(dict.fromkeys(item.convert(part, parameter, context) for part in parts))

    return convert


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--against",
    callback=_list_of(click.Choice(list(PEERS))),
    help=f"Other engines, of {', '.join(PEERS)}.  [default: those that are installed]",
)
@click.option(
    "--variant", "variants", multiple=True, help="Ours; may be repeated.  [default: int8, fp32]"
)
@click.option(
    "--batch", "batches", callback=_list_of(click.IntRange(1)), default="1,8,32", show_default=True
)
@click.option(
    "--beam",
    "beams",
    callback=_list_of(click.IntRange(1)),
    default="1,4",
    show_default=True,
    help="1 is greedy.",
)
@click.option(
    "--threads",
    callback=_list_of(click.IntRange(0)),
    help="Every system is measured with each of these; 0 is the engine's own default.  [default:"
    " 1,2; 1 where this process may use one processor only]",
)
@click.option(
    "--busy",
    callback=_list_of(click.IntRange(0, 1000)),
    default="0",
    show_default=True,
    metavar="INTEGER,...",
    help="Processes that do nothing but compute meanwhile; several numbers make several runs.",
)
@partial(
    decoding_options,
    without={"beam_size", "num_hypotheses", "max_length"},  # --beam, one hypothesis, --length
    defaults=DecodingOptions(),
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--vocab-size",
    type=click.IntRange(100),
    help="Of presets.  [default: 8000; base, big 32000; opus-mt 65001]",
)
@click.option(
    "--length",
    type=click.IntRange(1, 511),
    help="Tokens decoded per sentence.  [default: 30; with real weights at most 256]",
)
@click.option(
    "--sentences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For real weights: one sentence a line, or source<TAB>target.  [default: the "
    "checkpoint's validation.tsv; for a model folder 64 of its language, if it is zh or en]",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="How many of these sentences, for the mixed file and the exact matches.",
)
@click.option(
    "--parts",
    callback=_list_of(click.Choice(PARTS)),
    default=",".join(PARTS),
    show_default=True,
    help="What to measure.",
)
@click.option(
    "--length-scaling", is_flag=True, help="Of a preset: also time per token at 32 and 256."
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Convert into this folder, and use what an earlier run converted there.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report, every figure, and charts. A run that was stopped goes on from it.",
)
def bench(
    models: tuple[str, ...],
    against: list[str] | None,
    variants: tuple[str, ...],
    batches: list[int],
    beams: list[int],
    threads: list[int] | None,
    busy: list[int],
    decoding: dict[str, Any],
    rounds: int,
    parts: list[str],
    length_scaling: bool,
    **request: Any,
) -> None:
    """Measure how fast MODEL decodes, beside other engines with the same weights.

    MODEL is a preset (tiny, edge, base, big, ..., or opus-mt, an imported model's shape: random
    weights, every system decodes the same number of tokens), a checkpoint, a model folder, or the
    name of a bundled model. Prints Markdown: tokens a second, and tokens per CPU second, which
    other load on the machine hardly changes.

    With --output every measurement is saved as it is made. The same command goes on after Ctrl-C
    or a crash.

    Decoding options hold for every engine. CTranslate2 has some of them, the others none: an
    engine that does not have an option takes no part.

    \b
        tfm bench edge zh-en --against ctranslate2 --output results
        tfm bench edge --threads 2 --busy 0,1
        tfm bench base --against ctranslate2 --batch 1,8 --parts cells,operators
    """
    import logging

    from tfm.export.errors import ExportError
    from tfm.runtime.cpu import usable_cpus
    from tfm.trainer.errors import TrainError

    from .plan import Plan
    from .run import Request, run

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfm_bench").setLevel(logging.INFO)
    plan = Plan(
        batches=batches,
        beams=beams,
        rounds=rounds,
        parts=parts,
        length_scaling=length_scaling,
        threads=sorted(threads or range(1, min(2, usable_cpus()) + 1)),
        decoding=decoding,
    )
    try:
        for report in run(
            models, plan, Request(against=against, variants=variants, busy=busy, **request)
        ):
            click.echo(report)
    except (TrainError, ExportError) as error:
        raise click.ClickException(str(error)) from error


@click.command("bench-training")
@click.option(
    "--joeynmt-python",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Interpreter of the environment that has JoeyNMT.",
)
@click.option("--preset", type=click.Choice(["tiny", "edge"]), default="tiny", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(10),
    default=60,
    show_default=True,
    help="Updates measured in a turn, after 20 that are not; a multiple of 10.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(64),
    default=4096,
    show_default=True,
    help="Of a batch, padding included.",
)
@click.option("--dropout", type=click.FloatRange(0, 0.9), default=0.1, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="For both.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write."
)
def bench_training(
    joeynmt_python: Path,
    preset: str,
    rounds: int,
    steps: int,
    max_tokens: int,
    dropout: float,
    threads: int,
    output: Path | None,
) -> None:
    """Measure how fast `tfm train` trains, beside JoeyNMT.

    The same network on the same made-up sentences, on the CPU, fp32. Prints Markdown.

    JoeyNMT needs an environment of its own, because its pins are old:

    \b
        python -m venv joeynmt
        joeynmt/bin/pip install -c constraints.txt torch sacrebleu sentencepiece matplotlib \\
            pyyaml packaging tensorboard subword-nmt importlib_metadata plotly
        joeynmt/bin/pip install --no-deps joeynmt==2.3.0
        tfm bench-training --joeynmt-python joeynmt/bin/python
    """
    from .errors import BenchError
    from .training import run_training
    from .training_data import Setting

    try:
        setting = Setting(
            preset=preset, dropout=dropout, max_tokens=max_tokens, steps=steps, threads=threads
        )
        report = run_training(setting, joeynmt_python, rounds=rounds, output=output)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    click.echo(report)

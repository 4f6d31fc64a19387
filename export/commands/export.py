"""`tfm export`: a checkpoint to a verified model folder."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from tfm.runtime.commands.options import decoding_options, usage_errors
from tfm.runtime.commands.streams import LogLines
from tfm.runtime.files.folder_kind import FolderKind, wrong_kind

from .options import tokenize_option
from .sentences import read_pairs, read_sentences
from .tables import verification_table


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("model_folder", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("int8", "fp32"),
    show_default=True,
    type=click.Choice(["int8", "int4", "fp16", "fp32"]),
    help="What to export; may be given several times. int8 is the fastest on a CPU, int4 the "
    "smallest; fp16 is for CUDA.",
)
@click.option(
    "--sentences",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Calibrate and verify on these: plain text, one sentence a line, or source<TAB>target.  "
    "[default: the checkpoint's validation.tsv]",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many of them to calibrate and verify on.",
)
@click.option(
    "--dev",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure quality, size and speed of every variant against fp32 on these lines of "
    "source<TAB>target; not the ones that you test on.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0),
    help="What a variant may lose on --dev, in chrF points: the most sensitive linear layers "
    "stay in float until it loses no more than that.",
)
@click.option(
    "--shortlist",
    metavar="none|preview|FILE",
    default="none",
    show_default=True,
    help="Compute the logits of some tokens only, in int8 and fp32; faster with a large "
    "vocabulary. preview: estimate all logits in few dimensions, then compute those of the best "
    "candidates. FILE, from `tfm shortlist`: only tokens that are listed for the words of the "
    "sentence.",
)
@click.option(
    "--fold-capitals",
    is_flag=True,
    help="Read a sentence that is all in capitals as if it were in small letters, which most "
    "models know better.",
)
@tokenize_option
@partial(decoding_options, without=("num_hypotheses",))  # whoever translates says how many
def export(
    checkpoint: Path,
    model_folder: Path,
    variants: tuple[str, ...],
    sentences: Path | None,
    limit: int,
    dev: Path | None,
    max_loss: float | None,
    shortlist: str,
    fold_capitals: bool,
    tokenize: str | None,
    decoding: dict[str, Any],
) -> None:
    """Export CHECKPOINT to MODEL_FOLDER, for `tfm run -m MODEL_FOLDER`.

    Every variant is run by the runtime and compared with PyTorch; the results are printed and
    written to verify.json. If a variant fails, MODEL_FOLDER stays as it was. Decoding options
    become the model's own: what `tfm run` takes where nobody says otherwise.
    """
    import logging

    from tfm.export.decoding_defaults import decoding_defaults
    from tfm.export.model_folder import export_checkpoint
    from tfm.export.quantization.tune import Development
    from tfm.trainer.checkpoint import CONFIG
    from tfm.trainer.config import load_model_config

    if problem := wrong_kind(checkpoint, FolderKind.CHECKPOINT):
        raise click.ClickException(problem)
    if max_loss is not None and dev is None:
        raise click.UsageError("--max-loss needs --dev: sentences to measure the loss on")
    if shortlist != "none" and (other := set(variants) - {"int8", "fp32"}):
        raise click.UsageError(f"--shortlist is for int8 and fp32, not for {min(other)}")
    logging.basicConfig(level=logging.WARNING, handlers=[LogLines()])
    logging.getLogger("tfm.export").setLevel(logging.INFO)
    sources, references = read_sentences(sentences or checkpoint / "validation.tsv", limit)
    vocab_size = load_model_config(checkpoint / CONFIG).target_vocab_size
    with usage_errors():
        options = decoding_defaults(checkpoint, vocab_size).changed(**decoding)
        options.check_vocabulary(vocab_size)
    development = None if dev is None else Development(*read_pairs(dev), max_loss, tokenize)
    reports = export_checkpoint(
        checkpoint,
        model_folder,
        list(dict.fromkeys(variants)),
        sources,
        references,
        development,
        tokenize,
        options,
        shortlist if shortlist in ("none", "preview") else Path(shortlist),
        fold_capitals=fold_capitals,
    )
    click.echo(verification_table(reports))
    click.echo(f"wrote {model_folder}; try: tfm run -m {model_folder}", err=True)

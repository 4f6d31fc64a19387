"""`tfm shortlist`: what each source token may be translated with, learned from parallel text."""

from pathlib import Path

import click


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument(
    "corpora",
    nargs=-1,
    required=True,
    metavar="CORPUS...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--out",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, a .npz, for `tfm export --shortlist`.",
)
@click.option("--reverse", is_flag=True, help="The lines of a CORPUS are target<TAB>source.")
@click.option(
    "--pairs",
    type=click.IntRange(1),
    default=200_000,
    show_default=True,
    help="How many pairs to learn from, drawn from all; each takes about 5 KB of memory.",
)
@click.option(
    "--per-token",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="The most target tokens that are listed for a source token.",
)
@click.option(
    "--frequent",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    help="How many of the most frequent target tokens every sentence may use.",
)
def shortlist(
    checkpoint: Path,
    corpora: tuple[Path, ...],
    path: Path,
    reverse: bool,
    pairs: int,
    per_token: int,
    frequent: int,
) -> None:
    """Learn from parallel text which target tokens a sentence may be translated with.

    A model that is exported with them computes the logits of these tokens alone, which is faster
    where its vocabulary is large. CHECKPOINT has the vocabulary. A CORPUS is a file of lines
    source<TAB>target, .xz, .gz or .zst too, or a recipe (.toml) of `tfm train`, whose corpora are
    read. Only the translations that the corpora show come into the list: take those that the model
    was trained on, or what it translated itself.

    \b
        tfm shortlist checkpoint recipe.toml --out shortlist.npz
        tfm export checkpoint model --shortlist shortlist.npz --dev dev.tsv
    """
    import logging

    from tfm.runtime.files.folder_kind import FolderKind, wrong_kind
    from tfm.trainer.checkpoint import CheckpointFolder
    from tfm.trainer.config import load_recipe
    from tfm.trainer.data.corpora import Corpora
    from tfm.trainer.data.recipe import CorpusRecipe
    from tfm.trainer.data.shortlist import learn_shortlist
    from tfm.trainer.data.vocabulary import Vocabulary

    if problem := wrong_kind(checkpoint, FolderKind.CHECKPOINT):
        raise click.ClickException(problem)
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"--out {path}: there is no folder {path.parent}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = CheckpointFolder(checkpoint).read_config()
    vocabulary = Vocabulary.load(checkpoint)
    vocabulary.check(config)
    recipes: list[CorpusRecipe] = []
    for corpus in corpora:
        if corpus.suffix == ".toml":
            recipes += load_recipe(corpus).data.train
        else:
            recipes.append(CorpusRecipe(path=str(corpus), reverse=reverse))
    text = Corpora(recipes)
    text.check()
    found = learn_shortlist(text, vocabulary, config, pairs, per_token, frequent)
    found.save(path)
    click.echo(
        f"wrote {path}: {len(found.always)} tokens for every sentence and "
        f"{len(found.targets) / config.source_vocab_size:.0f} for each source token; next: "
        f"tfm export {checkpoint} MODEL_FOLDER --shortlist {path} --dev FILE",
        err=True,
    )

"""Options that several commands share."""

import click


def _check_tokenizer(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> str | None:
    """Refuse a name that sacrebleu does not know, before anything is computed."""
    if name is not None:
        import sacrebleu

        if name not in sacrebleu.BLEU.TOKENIZERS:
            names = ", ".join(sacrebleu.BLEU.TOKENIZERS)
            raise click.BadParameter(f"{name!r} is not one of {names}")
    return name


tokenize_option = click.option(
    "--tokenize",
    metavar="NAME",
    callback=_check_tokenizer,
    help="sacrebleu's tokenizer for BLEU: 13a, zh, intl, char, flores200, ...; none for "
    "references that are tokens already.  [default: the target language's]",
)

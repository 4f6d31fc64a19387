"""What decides an output beside its input: a run with other settings cannot continue it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfm.runtime.options import DecodingOptions
    from tfm.runtime.translator import Translator

Settings = dict[str, str | int | float | bool | list[int] | None]


def output_settings(
    translator: "Translator",
    options: "DecodingOptions",
    languages: tuple[str | None, str | None],
    extras: dict[str, Any],
) -> Settings:
    """The settings of a translation, by the names that a user knows them by.

    Args:
        languages: of source and target; None is the model's own
        extras: terms, placeholders and the like
    """
    from tfm.runtime.options import declared_options

    # Those at their default are left out: a newer tfm has more options, at their defaults.
    changed = options.set_options()
    by_name = {spec.cli: changed[name] for name, _, spec in declared_options() if name in changed}
    usual = translator.config.languages
    return {
        # Checked first: another variant changes the fingerprint too, and this says it better.
        "--variant": translator.choice.variant,
        "model": translator.fingerprint,
        **{name: list(v) if isinstance(v, tuple) else v for name, v in by_name.items()},
        "--source-language": languages[0] or usual.source,
        "--target-language": languages[1] or usual.target,
        **{f"--{name}": getattr(value, "digest", value) for name, value in extras.items()},
    }

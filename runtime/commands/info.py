"""`tfm info`: what a model folder is, and how it would run on this machine."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from tfm.runtime.bundled import bundled_model
from tfm.runtime.config import Languages, ModelConfig
from tfm.runtime.errors import TfmError
from tfm.runtime.files.display import printable

from .model_argument import ModelPath


@click.command()
@click.argument(
    "model",
    type=ModelPath(),
    required=False,
    envvar="TFM_MODEL",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def info(model: Path | None, as_json: bool) -> None:
    """Say what MODEL is, a folder or a bundled model (without one: zh-en), and how it would run."""
    folder = bundled_model() if model is None else model
    config = ModelConfig.load(folder)
    runs_here = _runs_here(config)
    if as_json:
        facts = {"folder": str(folder), **asdict(config), "runs_here": runs_here}
        click.echo(json.dumps(facts, indent=2))  # in ASCII, which every stream can encode
        return

    shape = config.architecture
    rows = [
        ("model", config.name),
        ("folder", str(folder)),
        ("languages", _languages(config.languages)),
        (
            "architecture",
            f"Transformer, {shape.encoder_layers}+{shape.decoder_layers} layers,"
            f" {shape.norm}-norm, d_model {shape.d_model}, d_ff {shape.d_ff},"
            f" {shape.num_heads} heads"
            + (", SSRU decoder" if shape.decoder_autoregression == "ssru" else ""),
        ),
        ("vocabulary", f"{shape.source_vocab_size} -> {shape.target_vocab_size}"),
        ("source limit", f"{config.max_source_length} tokens"),
        *([("shortlist", config.shortlist)] if config.shortlist != "none" else []),
        ("parameters", f"{shape.parameters / 1e6:.1f} M"),
        *(
            (f"variant {name}", f"{files.size / 1e6:.1f} MB")
            for name, files in sorted(config.variants.items())
        ),
        (
            "decoding",
            ", ".join(f"{n} {_shown(v)}" for n, v in asdict(config.decoding).items()),
        ),
        (
            "runs here",
            runs_here.get("error") or "{variant} on {device}: {reason}".format_map(runs_here),
        ),
    ]
    for label, value in rows:
        click.echo(f"{printable(label):<14}{printable(value)}")


def _languages(languages: Languages) -> str:
    text = f"{languages.source} -> {languages.target}"
    if languages.language_token == "none":
        return text
    side = "from and into" if languages.language_token == "both" else "into"
    return f"{text} by default; {side} {', '.join(languages.target_languages)}"


def _runs_here(config: ModelConfig) -> dict[str, str]:
    """The choice this machine would make, or the error it would give."""
    from tfm.runtime.device import choose, load_onnxruntime

    try:
        providers = load_onnxruntime().get_available_providers()
        return asdict(choose(config.variants, providers))
    except TfmError as error:
        return {"error": str(error)}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)

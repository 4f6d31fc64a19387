"""Everything that needs an NVIDIA GPU, in one go, the short parts first. See README.md beside.

python tests/gpu/check.py REPORT_FOLDER --recipe recipe.toml --minutes 6
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from helpers.models import tfm
from helpers.paths import ROOT

CUDA_TESTS = ("tests/export/quantization/test_float16.py", "tests/runtime/test_device.py")
MODELS = ("zh-en", "en-zh")
BATCH_SIZES = (1, 8, 32, 128)
ROUNDS = 3
PART_BYTES = 15 << 20  # of the trained weights: what some machines let pass at once


def sentences_of(model: str, count: int) -> list[str]:
    """Sentences of the field sets in the model's source language."""
    column = 0 if model.startswith("zh") else 1
    rows = [
        line.split("\t")
        for name in ("names.tsv", "copies.tsv")
        for line in (ROOT / "tests/models" / name).read_text("utf-8").splitlines()
    ]
    return [row[column] for row in rows][:count]


def facts(_work: Path, _device: str) -> dict[str, Any]:
    """Versions and devices."""
    import onnxruntime
    import torch

    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def tests(_work: Path, _device: str) -> dict[str, Any]:
    """The tests that are skipped where onnxruntime has no CUDA."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *CUDA_TESTS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)
    return {"status": done.returncode, "end": done.stdout.splitlines()[-8:]}


def exported(work: Path, model: str) -> Path:
    """A bundled model with fp16 and fp32."""
    folder, checkpoint = work / model, work / f"{model}-checkpoint"
    if not folder.exists():
        tfm("convert", str(ROOT / "models" / model), str(checkpoint), "--to", "checkpoint")
        lines = work / f"{model}.txt"
        lines.write_text("\n".join(sentences_of(model, 40)) + "\n", "utf-8")
        variants = ("--variant", "fp16", "--variant", "fp32")
        tfm("export", str(checkpoint), str(folder), *variants, "--sentences", str(lines))
    return folder


def translations(work: Path, device: str) -> dict[str, Any]:
    """Whether the device says what fp32 says on a CPU, greedy and with beams."""
    from tfm.runtime import Translator

    found: dict[str, Any] = {}
    for model in MODELS:
        sentences = sentences_of(model, 200)
        folder = exported(work, model)
        with Translator(folder, device="cpu", variant="fp32") as reference:
            for variant in ("fp32", "fp16") if device == "cuda" else ("fp32",):
                with Translator(folder, device=device, variant=variant) as translator:
                    for beam_size in (1, 4):
                        ours, theirs = (
                            [
                                found.text
                                for found in one.translate_batch(sentences, beam_size=beam_size)
                            ]
                            for one in (translator, reference)
                        )
                        equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
                        found[f"{model} {variant} beam {beam_size}"] = f"{equal} of {len(ours)}"
    return found


def speed(work: Path, device: str) -> dict[str, Any]:
    """Target tokens a second on the device beside int8 on one CPU thread, interleaved."""
    from tfm.runtime import Translator

    variant = "fp16" if device == "cuda" else "fp32"
    systems = {
        f"{device} {variant}": Translator(exported(work, "zh-en"), device=device, variant=variant),
        "cpu int8": Translator("zh-en", device="cpu", intra_threads=1),
    }
    found: dict[str, Any] = {}
    for beam_size in (1, 4):
        for size in BATCH_SIZES:
            sentences = sentences_of("zh-en", size)
            rates: dict[str, list[float]] = {name: [] for name in systems}
            for attempt in range(ROUNDS + 1):  # the first one warms up
                for name, translator in systems.items():
                    begin = time.perf_counter()
                    done = translator.translate_batch(sentences, beam_size=beam_size)
                    seconds = time.perf_counter() - begin
                    tokens = sum(len(one.hypotheses[0].tokens) + 1 for one in done)
                    if attempt:
                        rates[name].append(tokens / seconds)
            found[f"beam {beam_size}, {size} sentences"] = {
                name: round(statistics.median(values)) for name, values in rates.items()
            }
    for translator in systems.values():
        translator.close()
    return found


def training(recipe: Path, init: Path | None, minutes: float) -> Callable[[Path, str], Any]:
    """A part that trains for some minutes and keeps the weights in pieces of half precision."""

    def train(work: Path, _device: str) -> dict[str, Any]:
        checkpoint = work / "trained"
        command = [sys.executable, "-m", "tfm.runtime", "train", str(recipe), "--out"]
        command += [str(checkpoint), *(() if init is None else ("--init", str(init)))]
        if checkpoint.exists():
            command = [*command[:7], "--resume"]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            process.wait(minutes * 60)
        except subprocess.TimeoutExpired:
            process.terminate()  # tfm train saves where it is
            process.wait(60)
        lines = (checkpoint / "metrics.jsonl").read_text("utf-8").splitlines()
        steps = [row for row in map(json.loads, lines) if "tokens_per_second" in row]
        keys = ("step", "loss", "tokens_per_second", "tflops", "mfu")
        last = {key: steps[-1][key] for key in keys if steps and key in steps[-1]}
        return {**last, "weights": [path.name for path in weights_in_parts(checkpoint, work)]}

    return train


def weights_in_parts(checkpoint: Path, folder: Path) -> Iterator[Path]:
    """The last weights in fp16, in files that `cat` joins to one .safetensors."""
    from safetensors.torch import load_file, save

    tensors = load_file(checkpoint / "last.safetensors")
    weights = {
        name.removeprefix("model."): tensor.half()
        for name, tensor in tensors.items()
        if name.startswith("model.")
    }
    data = save(weights)
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        path = folder / f"weights.safetensors.{number:02d}"
        path.write_bytes(data[start : start + PART_BYTES])
        yield path


@click.command()
@click.argument("report_folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--init", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=6.0, show_default=True)
@click.option("--only", multiple=True, help="Parts by name.  [default: all]")
def command(
    report_folder: Path,
    device: str,
    recipe: Path | None,
    init: Path | None,
    minutes: float,
    only: tuple[str, ...],
) -> None:
    """Run all parts; report.json is written after each. A part that fails does not end the rest."""
    report_folder.mkdir(parents=True, exist_ok=True)
    parts = {"facts": facts, "tests": tests, "translations": translations, "speed": speed}
    if recipe is not None:
        parts["training"] = training(recipe, init, minutes)
    report: dict[str, Any] = {}
    for name, part in parts.items():
        if only and name not in only:
            continue
        begin = time.perf_counter()
        try:
            result = part(report_folder.resolve(), device)
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {error}"}
        report[name] = {"seconds": round(time.perf_counter() - begin, 1), **result}
        text = json.dumps(report, indent=2, ensure_ascii=False)
        (report_folder / "report.json").write_text(text + "\n", "utf-8")
        click.echo(f"{name}: {json.dumps(report[name], ensure_ascii=False)}")
    if any("failed" in result for result in report.values()):
        sys.exit(1)


if __name__ == "__main__":
    command()

"""Tokens per second of the runtime beside CTranslate2 and PyTorch, on the same weights.

    python tests/bench/bench_decode.py --preset edge --threads 2

Weights are random and EOS is made impossible, so that every system decodes the same number of
tokens. Systems take turns in every round; the medians' ratios are what to quote, for the absolute
figures drift with the machine.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctranslate2_reference import Reference

from tfm.export.convert import convert
from tfm.export.model_folder import write_model_folder
from tfm.runtime import Translator
from tfm.trainer.config import PRESETS, ModelConfig, VocabularyRecipe
from tfm.trainer.data import pad
from tfm.trainer.model import Transformer
from tfm.trainer.vocabulary import Vocabulary, train_vocabulary

SOURCE_LENGTH = 25
Run = Callable[[list[list[int]], int, int], None]


def endless_model(preset: str, vocab_size: int) -> Transformer:
    """Random weights that never propose EOS: its row of the projection opposes the last bias."""
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(
            source_vocab_size=vocab_size,
            target_vocab_size=vocab_size,
            dropout=0.0,
            **PRESETS[preset],
        )
    ).eval()
    last = model.decoder_layers[-1].feed_forward_residual.norm
    with torch.no_grad():
        eos = model.projection.weight[model.config.eos_id]
        last.bias.add_(eos * (-50 / eos.dot(eos)))
    return model


def systems(model: Transformer, folder: Path, threads: int, length: int) -> dict[str, Run]:
    """Each system as a function of sources, batch size and beam size."""
    ours_folder = folder / "tfm"
    ours_folder.mkdir()
    write_model_folder(model, _no_text(), convert(model), ours_folder, ("int8", "fp32"), "bench")
    runs: dict[str, Run] = {}
    for variant in ("int8", "fp32"):
        translator = Translator(
            folder / "tfm", variant=variant, device="cpu", intra_threads=threads
        )

        def ours(
            sources: list[list[int]], batch: int, beam: int, translator: Translator = translator
        ) -> None:
            found = translator.translate_ids(
                sources,
                beam_size=beam,
                max_length=length,
                max_batch_tokens=batch * beam * (SOURCE_LENGTH + 1),
            )
            assert len(found[0][0].ids) == length

        runs[f"tfm {variant}"] = ours
    for kind in ("int8", "float32"):
        reference = Reference(model, folder / kind, compute_type=kind, intra_threads=threads)

        def theirs(
            sources: list[list[int]], batch: int, beam: int, reference: Reference = reference
        ) -> None:
            found = reference.translate(
                sources,
                beam_size=beam,
                num_hypotheses=1,
                length_penalty=1.0,
                max_length=length,
                max_batch_size=batch,
            )
            assert len(found[0][0][0]) == length

        runs[f"CTranslate2 {kind}"] = theirs

    def torch_greedy(sources: list[list[int]], batch: int, beam: int) -> None:
        for start in range(0, len(sources), batch):
            model.greedy(pad(sources[start : start + batch], model.config.pad_id), length)

    runs["PyTorch, no cache"] = torch_greedy
    return runs


def _no_text() -> Vocabulary:
    words = ["a b c d e f g", "h i j k l m n"] * 50
    return train_vocabulary(words, words, VocabularyRecipe(size=300))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="edge", choices=PRESETS)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=30, help="tokens decoded per sentence")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = endless_model(arguments.preset, arguments.vocab_size)
    generator = np.random.default_rng(0)
    cells = [(1, 1), (8, 1), (32, 1), (1, 4), (8, 4), (32, 4)]
    with tempfile.TemporaryDirectory() as folder:
        runs = systems(model, Path(folder), arguments.threads, arguments.length)
        speeds: dict[tuple[str, int, int], list[float]] = {}
        for _ in range(arguments.rounds + 1):  # the first round warms up
            for batch, beam in cells:
                sources = generator.integers(4, arguments.vocab_size, (batch, SOURCE_LENGTH))
                rows = [[*row.tolist(), model.config.eos_id] for row in sources]
                for name, run in runs.items():
                    if name.startswith("PyTorch") and beam > 1:
                        continue
                    start = time.perf_counter()
                    run(rows, batch, beam)
                    seconds = time.perf_counter() - start
                    tokens = batch * arguments.length
                    speeds.setdefault((name, batch, beam), []).append(tokens / seconds)
    print(_table(list(runs), cells, speeds))
    packages = ", ".join(
        f"{p} {version(p)}" for p in ("tfm", "onnxruntime", "ctranslate2", "torch")
    )
    print(
        f"\n{arguments.preset}, V {arguments.vocab_size}, source {SOURCE_LENGTH}, target "
        f"{arguments.length} tokens, {arguments.threads} threads, median of {arguments.rounds} "
        f"rounds; {packages}; {_processor()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _table(
    names: list[str],
    cells: list[tuple[int, int]],
    speeds: dict[tuple[str, int, int], list[float]],
) -> str:
    heads = [f"b{batch} {'greedy' if beam == 1 else f'beam {beam}'}" for batch, beam in cells]
    lines = [f"| tokens/s | {' | '.join(heads)} |", f"|---|{'--:|' * len(cells)}"]
    for name in names:
        values = []
        for batch, beam in cells:
            found = speeds.get((name, batch, beam))
            values.append(f"{statistics.median(found[1:]):.0f}" if found else "-")
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""The tables that `tfm export` prints."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfm.export.evaluation.verify import VariantReport

HEADER = ["variant", "max diff", "greedy = torch", "beam 4 = torch", "alone = batch",
          "chrF to torch", "BLEU", "chrF"]  # fmt: skip
QUALITY_HEADER = ["variant", "MB", "speed", "dev BLEU", "dev chrF", "chrF lost"]
UNCHANGED = "unchanged"  # heads the column of what a shortlist did, where there is one


def verification_table(reports: "dict[str, VariantReport]") -> str:
    """One row per variant; below it a second table if variants were measured on --dev."""
    rows = [HEADER]
    for name, report in reports.items():
        scores, greedy, beam = report.scores, report.greedy, report.beam
        rows.append(
            [
                name,
                f"{max(report.max_abs_diff.values()):.1e}",
                f"{greedy.equal}/{greedy.sentences}",
                f"{beam.equal}/{beam.sentences}",
                f"{report.alone_equals_batched:.1%}",
                f"{report.chrf_against_torch:.1f}",
                f"{scores.bleu:.1f}" if scores else "-",
                f"{scores.chrf:.1f}" if scores else "-",
            ]
        )
    return "\n\n".join([_align(rows), *_quality_table(reports)])


def _quality_table(reports: "dict[str, VariantReport]") -> list[str]:
    """The table of what was measured on --dev, and the layers in float; empty without --dev."""
    listed = any(
        r.quality is not None and r.quality.unchanged is not None for r in reports.values()
    )
    rows = [[*QUALITY_HEADER, UNCHANGED] if listed else QUALITY_HEADER]
    exclusions = []
    for name, report in reports.items():
        quality = report.quality
        if quality is None:
            return []
        rows.append(
            [
                name,
                f"{quality.megabytes:.1f}",
                f"{quality.speed:.2f}x",
                f"{quality.scores.bleu:.2f}",
                f"{quality.scores.chrf:.2f}",
                f"{quality.chrf_loss:.2f}",
                *([] if quality.unchanged is None else [f"{quality.unchanged:.1%}"]),
            ]
        )
        if quality.kept_float:
            exclusions.append(f"{name} keeps in float: {', '.join(quality.kept_float)}")
    return [_align(rows), *exclusions]


def _align(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )

"""The bar chart: the speed of every system in every cell, CTranslate2's best being 1."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# Colors by the beginning of a system's name: tfm blue, CTranslate2 orange, the others grey.
FAMILIES = {
    "tfm": ("#0b5cad", "#4c9be0", "#9ccbf2", "#cfe6fa"),
    "CTranslate2": ("#b85c00", "#e8913a", "#f5c48a"),
    "": ("#4a4a4a", "#7d7d7d", "#a8a8a8", "#cfcfcf"),
}


def write_chart(
    relative: Mapping[str, Mapping[str, float]],
    cells: Sequence[str],
    title: str,
    subtitle: str,
    path: Path,
) -> None:
    """Write a chart with a group of bars for each cell; tfm's best bar shows its value.

    Args:
        relative: speed by system and cell
        cells: in order
        path: a .png
    """
    systems = list(relative)
    width = 0.86 / len(systems)
    figure, axes = pyplot.subplots(figsize=(max(8.0, 1.6 * len(cells)), 4.8), dpi=150)
    for index, (system, color) in enumerate(zip(systems, _colors(systems), strict=True)):
        offset = (index - (len(systems) - 1) / 2) * width
        bars = [(x, relative[system][c]) for x, c in enumerate(cells) if c in relative[system]]
        positions = [x + offset for x, _ in bars]
        axes.bar(positions, [y for _, y in bars], width * 0.92, label=system, color=color)
        for x, y in bars:
            if system.startswith("tfm") and y == _best_of_tfm(relative, cells[x]):
                axes.annotate(
                    f"{y:.1f}", (x + offset, y), (0, 2), textcoords="offset points",
                    ha="center", va="bottom", fontsize=8, color="#0b3d73", fontweight="bold",
                )  # fmt: skip
    axes.axhline(1, color="#d9730d", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xticks(range(len(cells)), cells)
    axes.set_xlim(-0.6, len(cells) - 0.4)
    axes.set_ylabel("tokens/s, CTranslate2's faster mode = 1")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=26)
    axes.text(0, 1.03, subtitle, transform=axes.transAxes, fontsize=8.5, color="#555555")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    columns = -(-len(systems) // 2) if len(systems) > 4 else len(systems)
    axes.legend(
        frameon=False, fontsize=8.5, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.08)
    )
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _best_of_tfm(relative: Mapping[str, Mapping[str, float]], cell: str) -> float:
    """The speed of tfm's fastest variant in this cell."""
    return max(speeds.get(cell, 0) for name, speeds in relative.items() if name.startswith("tfm"))


def _colors(systems: Sequence[str]) -> list[str]:
    """A color for each system; systems of one family get different shades."""
    used: dict[str, int] = {}
    colors = []
    for system in systems:
        family = next(name for name in FAMILIES if system.startswith(name))
        shades = FAMILIES[family]
        colors.append(shades[used.get(family, 0) % len(shades)])
        used[family] = used.get(family, 0) + 1
    return colors

"""An explanation as one picture: attention, probabilities, the search, position encodings.

Lengths are in inches.
"""

import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from tfm.runtime.search_tree import Fate, SearchTree

from .facts import Explanation
from .fonts import Fonts
from .page import made_with

WIDTH = 13.0
MARGIN = 0.35
PER_ROW = 12  # steps of the search, and tokens of the strip, beside each other
LINE = 0.25  # the height of a token
INK, SOFT, RULE = "#1b1f27", "#5a6270", "#d4d9e2"
SOURCE, TARGET, ACCENT, GOOD, UNSURE = "#0b6e8f", "#b14a13", "#2937ba", "#12784a", "#e05c16"
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#949bdd", ACCENT])
WAVE = LinearSegmentedColormap.from_list("wave", [TARGET, "#fafafb", "#1460a0"])
SPECIAL = {"<s>": "⟨start⟩", "<pad>": "⟨start⟩", "</s>": "⟨end⟩", "<unk>": "⟨unknown⟩"}
_MOST_PIXELS = 30_000  # of a side; matplotlib's limit is 65,536
_DPI = 120


def draw(explanation: Explanation, image: Path) -> None:
    """Write the picture as PNG."""
    _Picture(explanation).save(image)


class _Picture:
    """The panels from top to bottom; each method draws one."""

    def __init__(self, explanation: Explanation) -> None:
        self._facts = explanation
        self._source = [_shown(token) for token in explanation.source_tokens]
        self._target = [_shown(token) for token in explanation.target_tokens]
        names = [_shown(name) for name in explanation.tree_tokens.values()]
        self._fonts = Fonts(
            [
                explanation.source,
                explanation.target,
                *self._source,
                *self._target,
                *names,
                "⟨start⟩",
            ]
        )
        tallest = max(len(self._source), len(self._target))
        layers = max(len(layers) for _, layers in self._kinds()) or 1
        blocks, rows = _tree_size(explanation.tree)
        self._heights = {
            "title": 1.0,
            "look": LINE * tallest + 1.35,
            "heads": 0.95 * layers + 0.7,
            "sure": 0.55 * math.ceil(len(self._target) / PER_ROW) + 0.65,
            "search": blocks * (LINE * rows + 0.45) + 0.5 if blocks else 0.9,
            "waves": min(3.2, 0.12 * len(explanation.waves)) + 0.9,
        }
        self._height = sum(self._heights.values()) + MARGIN
        self._figure = Figure(figsize=(WIDTH, self._height), facecolor="white")
        FigureCanvasAgg(self._figure)

    def save(self, image: Path) -> None:
        self._title()
        self._links()
        self._cross()
        self._heads()
        self._sure()
        self._search()
        self._waves()
        dpi = min(_DPI, _MOST_PIXELS / max(WIDTH, self._height))
        self._figure.savefig(image, format="png", dpi=dpi)

    def _axes(
        self, panel: str, left: float, width: float, top: float = 0.0, bottom: float = 0.15
    ) -> Axes:
        """Axes in a panel, in inches; y runs downwards."""
        above = sum(
            height
            for name, height in self._heights.items()
            if list(self._heights).index(name) < list(self._heights).index(panel)
        )
        height = self._heights[panel] - top - bottom
        place = (
            left / WIDTH,
            1 - (above + top + height) / self._height,
            width / WIDTH,
            height / self._height,
        )
        axes = self._figure.add_axes(place)
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        return axes

    def _write(
        self, axes: Axes, x: float, y: float, text: str, color: str = INK, **how: Any
    ) -> None:
        how = {"fontsize": 9, "va": "center", **how}
        text = self._fonts.drawable(text)
        axes.text(x, y, text, color=color, family=self._fonts.families, parse_math=False, **how)

    def _heading(self, panel: str, title: str, text: str, left: float = MARGIN) -> None:
        axes = self._axes(panel, left, WIDTH - left - MARGIN)
        self._write(axes, 0, 0.1, title, fontsize=12, fontweight="bold")
        self._write(axes, 0, 0.33, text, SOFT)

    def _title(self) -> None:
        axes = self._axes("title", MARGIN, WIDTH - 2 * MARGIN)
        self._write(axes, 0, 0.26, _clipped(self._facts.source, 92), SOURCE, fontsize=15)
        self._write(axes, 0, 0.53, f"→ {_clipped(self._facts.target, 92)}", TARGET, fontsize=15)
        self._write(axes, 0, 0.78, made_with(self._facts), SOFT, fontsize=8)

    def _links(self) -> None:
        """Source and target with lines between what is aligned."""
        heads = ", ".join(str(head + 1) for head in self._facts.heads.heads)
        self._heading(
            "look",
            "Which target token comes from which source token",
            f"Cross-attention of layer {self._facts.heads.layer + 1}, head {heads}: a line stands"
            " for more than 6 % of a token's attention; on the right the same as a heat map.",
        )
        axes = self._axes("look", MARGIN, 5.0, top=1.0)
        for side, tokens, color, x, align in (
            (0, self._target, TARGET, 1.7, "right"),
            (1, self._source, SOURCE, 3.4, "left"),
        ):
            self._write(axes, x, 0.05, ("target", "source")[side], SOFT, ha=align, fontsize=8)
            for place, token in enumerate(tokens):
                self._write(axes, x, LINE * (place + 1.2), _clipped(token, 16), color, ha=align)
        for target, source in np.argwhere(self._facts.alignment > 0.06):
            weight = float(self._facts.alignment[target, source])
            ends = (1.76, LINE * (target + 1.2)), (3.34, LINE * (source + 1.2))
            _connect(
                axes, *ends, color=ACCENT, linewidth=0.6 + 3 * weight, alpha=0.1 + 0.8 * weight
            )

    def _cross(self) -> None:
        count, height = len(self._source), LINE * len(self._target)
        cell = min(0.5, (WIDTH - 6.8) / count)
        axes = self._axes("look", 6.2, WIDTH - 6.2 - MARGIN, top=0.55)
        axes.imshow(
            self._facts.alignment**0.5,  # so that small weights can be seen
            cmap=HEAT,
            vmin=0,
            vmax=1,
            extent=(0, cell * count, 0.6 + height, 0.6),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_xlim(0, WIDTH - 6.2 - MARGIN)
        axes.set_ylim(self._heights["look"] - 0.7, 0)
        for place, token in enumerate(self._target):
            self._write(axes, -0.08, 0.6 + LINE * (place + 0.5), _clipped(token, 12), ha="right")
        for place, token in enumerate(self._source):
            x, turned = cell * (place + 0.5), len(token) > 2
            turn = 90 if turned else 0
            self._write(
                axes,
                *(x, 0.55, _clipped(token, 9)),
                rotation=turn,
                ha="center",
                va="bottom",
                fontsize=min(9, 60 * cell),
            )

    def _kinds(self) -> list[tuple[str, NDArray[np.float32]]]:
        attention = self._facts.attention
        kinds = [
            ("encoder: source looks at source", attention.encoder),
            ("decoder: target looks at target", attention.decoder),
            ("cross: target looks at source", attention.cross),
        ]
        return [(name, layers) for name, layers in kinds if len(layers)]

    def _heads(self) -> None:
        self._heading(
            "heads",
            "All layers and heads",
            "Rows of small pictures are layers, columns are heads. In each, a row is a token that"
            " looks; the darker a cell, the more it looks there.",
        )
        kinds = self._kinds()
        room = (WIDTH - 2 * MARGIN) / len(kinds)
        for index, (name, layers) in enumerate(kinds):
            axes = self._axes("heads", MARGIN + room * index, room - 0.3, top=0.5)
            self._write(axes, 0, 0.02, name, SOFT, fontsize=8, va="top")
            size = min(0.85, (room - 0.3) / layers.shape[1] - 0.08)
            for layer, head in np.ndindex(*layers.shape[:2]):
                left, top = (size + 0.08) * head, 0.22 + 0.93 * layer
                box = (left, left + size, top + 0.85, top)
                axes.imshow(
                    layers[layer, head] ** 0.5, cmap=HEAT, vmin=0, vmax=1, extent=box, aspect="auto"
                )
                corner = (left, top)
                axes.add_patch(Rectangle(corner, size, 0.85, fill=False, color=RULE, linewidth=0.6))
            axes.set_xlim(0, room - 0.3)
            axes.set_ylim(self._heights["heads"] - 0.65, 0)

    def _sure(self) -> None:
        total = sum(self._facts.log_probs)
        self._heading(
            "sure",
            "How sure the model was",
            "Under each token its probability; the stronger the color, the less probable. All"
            f" together: log-probability {total:.3f} nats, {total / len(self._target):.3f} per"
            " token.",
        )
        axes = self._axes("sure", MARGIN, WIDTH - 2 * MARGIN, top=0.5, bottom=0)
        size = (WIDTH - 2 * MARGIN) / PER_ROW
        for place, (token, log_prob) in enumerate(
            zip(self._target, self._facts.log_probs, strict=True)
        ):
            row, column = divmod(place, PER_ROW)
            x, y = size * column, 0.55 * row
            alpha = 0.75 * min(1.0, -log_prob / 4)
            box = FancyBboxPatch(
                (x + 0.03, y + 0.03),
                *(size - 0.1, 0.42),
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=(*_rgb(UNSURE), alpha),
                edgecolor=RULE,
            )
            axes.add_patch(box)
            middle = x + size / 2 - 0.02
            self._write(axes, middle, y + 0.16, _clipped(token, 12), ha="center")
            known = "given" if place < self._facts.given else f"{100 * math.exp(log_prob):.1f} %"
            self._write(axes, middle, y + 0.34, known, SOFT, ha="center", fontsize=7)

    def _search(self) -> None:
        tree = self._facts.tree
        if tree is None:
            text = "The translation was drawn at random, so there was no search."
            self._heading("search", "The search, as a tree", text)
            return
        own = "" if self._facts.own else " It is the search for the model's own translation."
        self._heading(
            "search",
            "The search, as a tree",
            "A column is a step, the best candidate on top, with the sum of log-probabilities so"
            f" far. Green: finished, with its score. Dashed: dropped. Bold: the winner.{own}",
        )
        axes = self._axes("search", MARGIN, WIDTH - 2 * MARGIN, top=0.55, bottom=0)
        _, rows = _tree_size(tree)
        block, size = LINE * rows + 0.45, (WIDTH - 2 * MARGIN) / PER_ROW
        for step, nodes in enumerate(tree.steps):
            row, column = divmod(step, PER_ROW)
            x, top = size * column, block * row
            self._write(
                axes, x + 0.4, top + 0.06, f"step {step + 1}", SOFT, ha="center", fontsize=7
            )
            for place, node in enumerate(nodes):
                won = step < len(self._facts.path) and self._facts.path[step] == place
                y = top + 0.3 + LINE * place
                self._node(axes, x, y, node.fate, won)
                name = _clipped(_shown(self._facts.tree_tokens[node.token]), 7)
                color = SOFT if node.fate is Fate.DROPPED else INK
                bold = "bold" if won else "normal"
                self._write(axes, x + 0.06, y, name, color, fontsize=7, fontweight=bold)
                score = node.score if node.final_score is None else node.final_score
                self._write(axes, x + 0.82, y, f"{score:.2f}", SOFT, ha="right", fontsize=6)
                if column and node.parent is not None:
                    start = (x - size + 0.86, top + 0.3 + LINE * node.parent)
                    dropped = node.fate is Fate.DROPPED
                    _connect(
                        axes,
                        *(start, (x, y)),
                        color=GOOD if won else RULE,
                        linewidth=2 if won else 0.8,
                        linestyle=":" if dropped else "-",
                        zorder=3 if won else 1,
                    )

    def _node(self, axes: Axes, x: float, y: float, fate: Fate, won: bool) -> None:
        good = won or fate is Fate.FINISHED
        fills = {Fate.KEPT: "#f1f3f7", Fate.FINISHED: "#dff3e8", Fate.DROPPED: "white"}
        box = FancyBboxPatch(
            (x, y - 0.095),
            *(0.86, 0.19),
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=fills[fate],
            edgecolor=GOOD if good else RULE,
            linewidth=1.8 if won else 0.8,
            linestyle="--" if fate is Fate.DROPPED else "-",
            zorder=2,
        )
        axes.add_patch(box)

    def _waves(self) -> None:
        waves = self._facts.waves
        if (self._facts.model["positions"] or "paper") == "paper":
            waves = np.concatenate([waves[:, ::2], waves[:, 1::2]], axis=1)
        said = self._facts.model["positions"] is not None
        self._heading(
            "waves",
            "Where a token stands",
            "A row is a position, a column a dimension that is added to the embedding: sines on the"
            " left, cosines on the right, short waves first."
            + ("" if said else " The model does not say which it has; these are the paper's."),
        )
        axes = self._axes("waves", MARGIN + 0.3, WIDTH - 2 * MARGIN - 0.3, top=0.5, bottom=0.3)
        width, height = WIDTH - 2 * MARGIN - 0.3, self._heights["waves"] - 0.8
        axes.imshow(
            waves,
            cmap=WAVE,
            vmin=-1,
            vmax=1,
            extent=(0, width, height, 0),
            aspect="auto",
            interpolation="nearest",
        )
        row = height / len(waves)
        for place in range(0, len(waves), math.ceil(0.13 / row)):
            self._write(axes, -0.06, row * (place + 0.5), str(place), SOFT, ha="right", fontsize=7)


def _tree_size(tree: SearchTree | None) -> tuple[int, int]:
    """Into how many blocks the steps are wrapped, and how many candidates a step has at most."""
    if tree is None:
        return 0, 0
    return math.ceil(len(tree.steps) / PER_ROW), max(map(len, tree.steps))


def _connect(axes: Axes, start: tuple[float, float], end: tuple[float, float], **how: Any) -> None:
    """A curve that leaves and arrives level."""
    (x1, y1), (x2, y2) = start, end
    middle = (x1 + x2) / 2
    codes = np.array([Curve.MOVETO, *[Curve.CURVE4] * 3], np.uint8)
    curve = Curve([start, (middle, y1), (middle, y2), end], codes)
    axes.add_patch(PathPatch(curve, fill=False, **how))


def _rgb(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def _shown(token: str) -> str:
    return SPECIAL.get(token, token)


def _clipped(text: str, most: int) -> str:
    """The beginning of a text that is as wide as so many Latin letters."""
    width = 0
    for place, character in enumerate(text):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > most:
            return text[:place] + "…"
    return text

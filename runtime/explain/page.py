"""An explanation as one page of HTML, which loads nothing from anywhere."""

import html
import json
import math
import re
from importlib.resources import files

from .facts import Explanation

LONG_TEXTS = 120  # characters, in smaller letters
SCRIPTS = ("common.js", "attention.js", "confidence.js", "beam.js", "positions.js")


def page(explanation: Explanation) -> str:
    """The page as text: its styles, scripts and numbers are in it."""
    texts = explanation.source + explanation.target
    scripts = "\n".join(_asset(name) for name in SCRIPTS)
    parts = {
        "lang": html.escape(str(explanation.model["target_language"])),
        "title": html.escape(f"{_short(explanation.source)} → {_short(explanation.target)}"),
        "source": html.escape(explanation.source),
        "target": html.escape(explanation.target) or "(nothing)",
        "size": "long" if len(texts) > LONG_TEXTS else "",
        "bytes": html.escape(_about_bytes(explanation)),
        "made_with": html.escape(made_with(explanation)),
        "tokens": _token_table(explanation),
        "style": _asset("style.css"),
        "facts": _in_script(explanation),
        "script": scripts,
    }
    # In one pass: what is put in may itself look like a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def made_with(explanation: Explanation) -> str:
    """The line that says which model, variant and options the explanation is of."""
    model = explanation.model
    parts = [
        f"Model {model['name']} ({model['parameters'] / 1e6:.1f} million parameters)",
        f"variant {model['variant']} on {model['device']}",
        ", ".join(f"{name} {value}" for name, value in explanation.options.items()),
        f"tfm {model['tfm']}",
    ]
    return " · ".join(parts)


def _token_table(explanation: Explanation) -> str:
    """Rows for readers without JavaScript, and for screen readers."""
    return "\n".join(
        f"<tr><td>{html.escape(token)}</td><td>{100 * math.exp(value):.1f} %</td>"
        f"<td>{value:.4f}</td></tr>"
        for token, value in zip(explanation.target_tokens, explanation.log_probs, strict=True)
    )


def _about_bytes(explanation: Explanation) -> str:
    """A sentence for those who wonder what <0xF0> is."""
    tokens = (*explanation.source_tokens, *explanation.target_tokens)
    found = next((token for token in tokens if token.startswith("<0x")), None)
    if found is None:
        return ""
    return f" A token such as {found} is one byte of a character that the vocabulary does not have."


def _in_script(explanation: Explanation) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(explanation.to_json(), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text("utf-8")

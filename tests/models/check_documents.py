"""Whether documents keep their structure when they are translated.

    python tests/models/check_documents.py MODEL FILE...

Other programs look at each file before and after: html.parser at HTML's tags, markdown-it-py at
Markdown's links and code, pysubs2 at the times of subtitles, polib at a catalogue's entries and
their placeholders, python-docx at the paragraphs of a .docx.
"""

import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import click

from tfm.runtime import Translator
from tfm.runtime.commands.model_argument import ModelPath
from tfm.runtime.documents.formats import find_format, read_document
from tfm.runtime.documents.translate import translate_segments

Parts = Counter[str]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: Parts = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text = ("alt", "title", "placeholder", "aria-label", "content", "label", "summary")
        kept = sorted((name, value) for name, value in attrs if name not in text)
        self.parts[f"<{tag} {kept}>"] += 1

    def handle_endtag(self, tag: str) -> None:
        self.parts[f"</{tag}>"] += 1


def html(content: bytes) -> Parts:
    parser = _Tags()
    parser.feed(content.decode("utf-8", "replace"))
    parser.close()
    return parser.parts


def markdown(content: bytes) -> Parts:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parts: Parts = Counter()
    for token in reader.parse(content.decode("utf-8", "replace")):
        if token.type != "html_block":
            parts[f"{token.type} {token.tag} {token.content if token.type == 'fence' else ''}"] += 1
        for child in token.children or []:
            if child.type in ("link_open", "image", "code_inline", "strong_open", "hardbreak"):
                said = child.content if child.type == "code_inline" else ""
                parts[f"{child.type} {child.attrs.get('href', child.attrs.get('src'))} {said}"] += 1
    return parts


def subtitles(content: bytes) -> Parts:
    import pysubs2

    file = pysubs2.SSAFile.from_string(content.decode("utf-8-sig"))
    return Counter(f"{line.start} {line.end} {bool(line.text)}" for line in file)


def catalogue(content: bytes) -> Parts:
    import polib

    parts: Parts = Counter()
    for entry in polib.pofile(content.decode("utf-8")):
        placeholders = re.findall(r"%\(\w+\)[sd]|%[sd]|\{\w*\}", entry.msgid)
        parts[f"{entry.msgctxt} {entry.msgid} {entry.occurrences}"] += 1
        if entry.msgstr:
            lost = Counter(placeholders) - Counter(
                re.findall(r"%\(\w+\)[sd]|%[sd]|\{\w*\}", entry.msgstr)
            )
            parts["placeholders lost"] += sum(lost.values())
    return parts


def docx(content: bytes) -> Parts:
    from docx import Document

    parts: Parts = Counter()
    for paragraph in Document(io.BytesIO(content)).paragraphs:
        parts[f"paragraph {paragraph.style.name} {bool(paragraph.text.strip())}"] += 1
    return parts


READERS: dict[str, Callable[[bytes], Parts]] = {
    "html": html,
    "markdown": markdown,
    "srt": subtitles,
    "vtt": subtitles,
    "po": catalogue,
    "docx": docx,
}


@click.command()
@click.argument("model", type=ModelPath())
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def command(model: Path, files: tuple[Path, ...]) -> None:
    """Translate FILEs with MODEL, and say what differs in their structure."""
    translator = Translator(model, device="cpu")
    languages = translator.config.languages
    click.echo("| file | sentences | parts | lost | added | notes |\n|---|--:|--:|--:|--:|--:|")
    wrong = 0
    for path in files:
        format = find_format(None, str(path))
        content = path.read_bytes()
        document = read_document(content, format, languages.source, languages.target)
        segments = document.segments
        found = [t for chunk in translate_segments(translator, segments) for t in chunk]
        before, after = (READERS[format.name](c) for c in (content, document.assemble(found)))
        lost, added = before - after, after - before
        wrong += bool(lost or added)
        click.echo(
            f"| {path.name} | {len(segments)} | {sum(before.values())} | {sum(lost.values())}"
            f" | {sum(added.values())} | {len(document.notes)} |"
        )
        for part in [*lost][:3]:
            click.echo(f"  lost: {part[:100]}", err=True)
    click.echo(f"\n{len(files)} files, {wrong} with another structure")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    command()

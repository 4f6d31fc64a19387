"""Texts and attributes of XML, as they are written and what they say (XML 1.0, sections 2.2 to
4.6)."""

import html
import re

from .inline_markup import Block

_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|[^\s&;<>]{1,64});")
_KNOWN = re.compile(r"&(?:#[0-9]+|#x[0-9a-fA-F]+|amp|lt|gt|quot|apos);")
_ATTRIBUTE = re.compile(r"""\s([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def add_xml_text(block: Block, text: str, begin: int, end: int) -> None:
    """Add what text[begin:end] says. References to entities that XML does not know by itself stand
    alone, as they are."""
    for reference in _REFERENCE.finditer(text, begin, end):
        if begin < reference.start():
            block.add_text(text[begin : reference.start()], begin, reference.start())
        if _KNOWN.fullmatch(reference.group()):
            block.add_text(html.unescape(reference.group()), *reference.span())
        else:
            block.add_kept("", *reference.span())
        begin = reference.end()
    if begin < end:
        block.add_text(text[begin:end], begin, end)


def escape_xml(text: str) -> str:
    """A text as XML has it, without characters that it cannot have."""
    return html.escape(_NO_CHARACTER.sub("", text), quote=False)


def unescape_xml(text: str) -> str:
    """What a text says."""
    return _KNOWN.sub(lambda reference: html.unescape(reference.group()), text)


def without_cdata(text: str) -> str:
    """The same with escapes in the place of CDATA sections."""
    parts: list[str] = []
    position = 0
    while (begin := text.find("<![CDATA[", position)) >= 0:
        end = text.find("]]>", begin)
        if end < 0:
            break
        parts += [text[position:begin], html.escape(text[begin + 9 : end], quote=False)]
        position = end + 3
    return "".join([*parts, text[position:]])


def attributes_of(tag: str) -> dict[str, str]:
    """The attributes of a tag, and what they say."""
    return {name: html.unescape(value[1:-1]) for name, value in _ATTRIBUTE.findall(tag)}


def with_attribute(tag: str, name: str, value: str) -> str:
    """The tag with an attribute, changed or new."""
    written = f'{name}="{html.escape(value)}"'
    for found in _ATTRIBUTE.finditer(tag):
        if found.group(1) == name:
            return f"{tag[: found.start(1)]}{written}{tag[found.end() :]}"
    end = len(tag) - (2 if tag.endswith("/>") else 1)
    end = len(tag[:end].rstrip())
    return f"{tag[:end]} {written}{tag[end:]}"


def local_name(name: str) -> str:
    """The name of an element without its prefix."""
    return name.rpartition(":")[2]

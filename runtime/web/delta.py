"""A file as what it has in common with another one, and the rest.

The graphs of a model hold the same weights, which so travel once. web/assets/delta.js puts the file
together again.
"""

import json
import struct

_KEY = 64  # bytes that are looked for
_LEAST = 256  # a shorter match is not worth an entry
_NEAR = 1 << 20  # where the next match probably is


def make_delta(base: bytes, new: bytes) -> bytes:
    """What to add to `base` to have `new`: the length of a list (4 bytes, little-endian), the list
    as JSON, and the bytes that are not in `base`. The list has [begin, end] for bytes of `base`,
    and a number for so many of the rest, in the order of `new`."""
    parts: list[list[int] | int] = []
    rest: list[bytes] = []
    done = position = expected = 0
    while position + _KEY <= len(new):
        key = new[position : position + _KEY]
        place = base.find(key, expected, expected + _NEAR)
        if place < 0:
            place = base.find(key)
        before = _common_before(base, place, new, position, position - done) if place >= 0 else 0
        after = _common_after(base, place, new, position) if place >= 0 else 0
        if before + after < _LEAST:
            position += _KEY
            continue
        if done < position - before:
            parts.append(position - before - done)
            rest.append(new[done : position - before])
        parts.append([place - before, place + after])
        done = position = position + after
        expected = place + after
    if done < len(new):
        parts.append(len(new) - done)
        rest.append(new[done:])
    listed = json.dumps(parts, separators=(",", ":")).encode()
    return b"".join([struct.pack("<I", len(listed)), listed, *rest])


def _common_after(base: bytes, place: int, new: bytes, position: int) -> int:
    """How many bytes from there on are the same."""
    most = min(len(base) - place, len(new) - position)
    count, step = 0, 1 << 20
    while step:
        while (
            count + step <= most
            and base[place + count : place + count + step]
            == new[position + count : position + count + step]
        ):
            count += step
        step >>= 1
    return count


def _common_before(base: bytes, place: int, new: bytes, position: int, most: int) -> int:
    """How many bytes before that are the same."""
    count = 0
    while count < min(most, place) and base[place - count - 1] == new[position - count - 1]:
        count += 1
    return count

"""Zip archives with other contents for some entries, and every other byte of an entry as it was
(PKWARE's APPNOTE.TXT, sections 4.3.7 and 4.3.12)."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

MOST_BYTES = 200_000_000  # of one entry
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP64 = 0x0001
_LARGE = 0xFFFFFFFF
_DESCRIPTOR = 0x08  # sizes follow the data


class ZipArchive:
    """An archive in memory."""

    def __init__(self, data: bytes) -> None:
        """Read the list of entries.

        Raises:
            ValueError: this is no archive, or one that is cut off, encrypted or of more than 4 GiB,
                or packed in a rare way, which could not be written again
        """
        self._data = data
        try:
            self._file = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
            raise ValueError(f"the zip archive is broken or cut off: {error}") from error
        self._entries = self._file.infolist()
        if any(entry.flag_bits & 1 for entry in self._entries):
            raise ValueError("the zip archive is encrypted")
        if any(entry.compress_type not in _PACKINGS for entry in self._entries):
            raise ValueError("the zip archive has an entry that is packed in a rare way")
        same = {entry.header_offset: entry.header_offset for entry in self._entries}
        self._directory(self._file.start_dir, same, {})  # before anything is translated

    @property
    def names(self) -> list[str]:
        """The entries, in the order of the archive's list."""
        return [entry.filename for entry in self._entries]

    def read(self, name: str) -> bytes:
        """What an entry holds.

        Raises:
            ValueError: its data are broken, or many more than MOST_BYTES
        """
        try:
            with self._file.open(name) as entry:
                content = entry.read(MOST_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{name} is broken: {error}") from error
        if len(content) > MOST_BYTES:  # a small archive may hold anything
            raise ValueError(f"{name} has more than {MOST_BYTES} bytes")
        return content

    def replaced(self, contents: Mapping[str, bytes]) -> bytes:
        """The archive with other contents for some entries."""
        if not contents:
            return self._data
        begins = sorted({entry.header_offset for entry in self._entries})
        ends = dict(zip(begins, [*begins[1:], self._file.start_dir], strict=True))
        by_begin = {entry.header_offset: entry for entry in self._entries}
        parts = [self._data[: begins[0]]]
        position = begins[0]
        offsets: dict[int, int] = {}
        headers: dict[int, tuple[int, int, int]] = {}
        for begin in begins:
            offsets[begin] = position
            record = self._data[begin : ends[begin]]
            name = by_begin[begin].filename
            if name in contents:
                record, headers[begin] = _changed(record, contents[name])
            parts.append(record)
            position += len(record)
        return b"".join([*parts, *self._directory(position, offsets, headers)])

    def _directory(
        self,
        begin: int,
        offsets: Mapping[int, int],
        headers: Mapping[int, tuple[int, int, int]],
    ) -> list[bytes]:
        """The list of entries and what follows it.

        Args:
            begin: where it begins
            offsets: where each entry begins, by where it began
            headers: checksum and sizes of those that changed
        """
        data, position = self._data, self._file.start_dir
        parts: list[bytes] = []
        for entry in self._entries:
            fields = list(_CENTRAL.unpack_from(data, position))
            name_size, extra_size, comment_size = fields[10:13]
            if fields[0] != b"PK\x01\x02" or _LARGE in fields[8:10] or fields[16] == _LARGE:
                raise ValueError("the zip archive's list of entries is broken or too large")
            name_end = position + _CENTRAL.size + name_size
            extra_end = name_end + extra_size
            name = data[position + _CENTRAL.size : name_end]
            extra = data[name_end:extra_end]
            comment = data[extra_end : extra_end + comment_size]
            if entry.header_offset in headers:
                extra = _without_zip64(extra)
                fields[3] &= ~_DESCRIPTOR
                fields[7:10] = headers[entry.header_offset]
                fields[11] = len(extra)
            fields[16] += offsets[entry.header_offset] - entry.header_offset
            parts += [_CENTRAL.pack(*fields), name, extra, comment]
            position = extra_end + comment_size
        size = sum(map(len, parts))
        return [*parts, _end_of(data, position, begin, size)]


def _end_of(data: bytes, position: int, begin: int, size: int) -> bytes:
    """The end record, with its comment, for a list of entries at another place."""
    at = data.find(b"PK\x05\x06", position)
    if at != position:  # records of zip64 and signatures stand before it
        raise ValueError("the zip archive has records that cannot be rewritten (zip64)")
    fields = list(_END.unpack_from(data, at))
    old_size, old_begin = fields[5], fields[6]
    fields[5] = size
    fields[6] = begin - (position - old_size - old_begin)
    return _END.pack(*fields) + data[at + _END.size :]


def _changed(record: bytes, content: bytes) -> tuple[bytes, tuple[int, int, int]]:
    """An entry's header and data with another content; its checksum and sizes."""
    fields = list(_LOCAL.unpack_from(record))
    name_end = _LOCAL.size + fields[9]
    extra = _without_zip64(record[name_end : name_end + fields[10]])
    packed = content
    if fields[3] == zipfile.ZIP_DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = deflate.compress(content) + deflate.flush()
    numbers = zlib.crc32(content), len(packed), len(content)
    fields[2] &= ~_DESCRIPTOR
    fields[6:9] = numbers
    fields[10] = len(extra)
    return _LOCAL.pack(*fields) + record[_LOCAL.size : name_end] + extra + packed, numbers


def _without_zip64(extra: bytes) -> bytes:
    """Extra fields without the one for large sizes."""
    kept: list[bytes] = []
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        if kind != _ZIP64:
            kept.append(extra[position : position + 4 + size])
        position += 4 + size
    return b"".join([*kept, extra[position:]])

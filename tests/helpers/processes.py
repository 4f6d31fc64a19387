"""Processes that this one started, and that they started, on Linux."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Processes below this one, nearest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, seen = [pid], {pid}
    for one in found:
        for child in parents.get(one, []):
            if child not in seen:
                seen.add(child)
                found.append(child)
    return found[1:]


def command_line(pid: int) -> str:
    """What a process calls itself; "" if it has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return ""
    return text.decode("utf-8", "replace").strip()

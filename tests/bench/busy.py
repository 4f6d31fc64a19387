"""Busy neighbours: processes that do nothing but compute, as other work on the machine does.

Run as a program it is one of them: python -m tfm_bench.busy.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from .worker import end_with_parent


@contextlib.contextmanager
def busy_neighbours(count: int) -> Iterator[list[int]]:
    """Keep this many processes computing, one thread each; afterwards all of them are gone.

    They also end when this process is killed.

    Yields:
        their process ids
    """
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tfm_bench.busy"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
            processes.append(process)
        for process in processes:  # each says that it has begun
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in processes]


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def main() -> None:
    """Compute for ever."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends this process
    end_with_parent()
    print("busy", flush=True)
    while True:
        pass


if __name__ == "__main__":
    main()

"""The process that has one system loaded: python -m tfm_bench.worker.

It reads requests from stdin and answers on stdout, one JSON object a line.

Requests:
    {"do": "load", "system": System}     {"import_s": float, "load_s": float}
    {"do": "translate", "sources", "batch", "beam", "length", "repeats", "ids": bool}
                                         {"seconds" and "cpu_seconds" of one, "tokens", "ids" if
                                         asked for}
    {"do": "memory"}                     {"peak_mb": float}
    {"do": "work", "system", "sources", "batch", "beam", "length"}
                                         operators.Work
    {"do": "speeds", "working_set"}      speeds.Speeds
"""

import ctypes
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .clock import process_seconds
from .systems import ENGINES, Engine, System, import_engine

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main() -> None:
    """Answer requests until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends this process
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever an engine prints goes to stderr
    engine: Engine | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            engine, answer = _load(System(**request["system"]))
        elif request["do"] == "translate":
            assert engine is not None
            answer = _translate(engine, request)
        elif request["do"] == "memory":
            answer = {"peak_mb": peak_memory()}
        else:
            answer = _measure(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def end_with_parent() -> None:
    """Let the death of the process that started this one end it, whatever it is doing then.

    On Linux the kernel sees to it, even while this process is suspended; elsewhere a thread looks.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_wait_for_end_of, args=(parent,), daemon=True).start()
    if os.getppid() != parent or parent == 1:  # it ended before it could be watched
        os._exit(1)


def _wait_for_end_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _load(system: System) -> tuple[Engine, dict[str, Any]]:
    start = time.perf_counter()
    import_engine(system.engine)
    imported = time.perf_counter()
    engine: Engine = ENGINES[system.engine](system)
    return engine, {"import_s": imported - start, "load_s": time.perf_counter() - imported}


def _translate(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    prepared = engine.prepare(request["sources"], request["batch"], request["beam"])
    repeats = request["repeats"]
    start, cpu_start = time.perf_counter(), process_seconds()
    for _ in range(repeats):
        results = engine.translate(prepared, request["beam"], request["length"])
    cpu_seconds = (process_seconds() - cpu_start) / repeats
    seconds = (time.perf_counter() - start) / repeats
    ids = engine.outputs(results)
    answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "tokens": sum(map(len, ids))}
    return {**answer, "ids": ids} if request["ids"] else answer


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    """What needs packages that an engine's own process does not import."""
    if request["do"] == "speeds":
        from .speeds import measure_speeds

        return dataclasses.asdict(measure_speeds(request["working_set"]))
    from .operators import work_of

    system = System(**request["system"])
    cell = (request[name] for name in ("sources", "batch", "beam", "length"))
    return dataclasses.asdict(work_of(system, *cell))


def peak_memory() -> float:
    """The largest resident set of this process so far, in MB.

    Not ru_maxrss on Linux: that one survives exec, and is the parent's where that was larger.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()

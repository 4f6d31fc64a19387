"""`tfm serve` in a process of its own, and requests to it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WAIT = 60.0  # seconds


@dataclass
class RunningService:
    """A service that answers.

    Attributes:
        url: without a slash at its end
        lines: what it has written so far
    """

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        form: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        timeout: float = WAIT,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON or text, and headers of an answer.

        Args:
            body: sent as JSON; bytes as they are
            form: sent as a form
        """
        data, kind = body, "application/json"
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
        if form is not None:
            data = form.encode() if isinstance(form, str) else form
            kind = "application/x-www-form-urlencoded"
        request = urllib.request.Request(
            self.url + path,
            data,
            {**({"Content-Type": kind} if data is not None else {}), **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, _content(response), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _content(error), error.headers

    def translate(self, q: Any, source: str = "zh", target: str = "en", **more: Any) -> Any:
        """LibreTranslate's answer, which must be 200."""
        status, answer, _ = self.ask(
            "/translate", {"q": q, "source": source, "target": target, **more}
        )
        assert status == 200, answer
        return answer

    def metric(self, name: str) -> float:
        """The sum of one of /metrics over all of its labels."""
        _, text, _ = self.ask("/metrics")
        values = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    def memory(self) -> float:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024.0


@contextmanager
def running_service(
    *arguments: str,
    wait: bool = True,
    program: Sequence[str] = ("-m", "tfm"),
    **environment: str,
) -> Iterator[RunningService]:
    """`tfm serve` at a free port, until the block is left.

    Args:
        program: of Python, that has the command
        wait: until its models are loaded
    """
    process = subprocess.Popen(
        [sys.executable, *program, "serve", "--port", "0", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    reader: threading.Thread | None = None
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"(http://[^\s\"]+) translates with", first)
        assert found, first + process.stderr.read()
        service = RunningService(process, found[1], [first])
        stderr = process.stderr
        reader = threading.Thread(target=lambda: service.lines.extend(stderr), daemon=True)
        reader.start()
        if wait:
            until(lambda: service.ask("/health")[0] == 200)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join()
        if process.stderr is not None:
            process.stderr.close()


def until(condition: Any) -> None:
    """Wait until it is true; a refused connection is not yet."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _content(response: Any) -> Any:
    text = response.read().decode()
    kind = response.headers.get("content-type", "")
    return json.loads(text) if kind.startswith("application/json") else text

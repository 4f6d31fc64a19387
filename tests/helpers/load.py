"""Many requests to a service at the same time, and how long each took."""

import json
import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection

from .service import RunningService


@dataclass(frozen=True)
class Load:
    """What came back.

    Attributes:
        answers: of each text, in the order given; None where there was none
        seconds: that each took
        errors: statuses and exceptions of those without an answer
        wall: seconds in all
    """

    answers: list[str | None]
    seconds: list[float]
    errors: list[str]
    wall: float

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


def send(
    service: RunningService, texts: Sequence[str], connections: int, target: str = "en"
) -> Load:
    """Ask LibreTranslate's API for all texts, one in each request."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(texts)):
        waiting.put(index)
    answers: list[str | None] = [None] * len(texts)
    seconds = [0.0] * len(texts)
    errors: list[str] = []

    def work() -> None:
        host = service.url.removeprefix("http://")
        connection = HTTPConnection(host, timeout=120)
        while True:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                break
            body = json.dumps({"q": texts[index], "source": "auto", "target": target})
            begun = time.perf_counter()
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/translate", body.encode(), headers)
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    answers[index] = json.loads(content)["translatedText"]
                else:
                    errors.append(f"{response.status} {content[:100]!r}")
            except (OSError, ValueError) as error:
                errors.append(f"{type(error).__name__}: {error}")
                connection.close()
            seconds[index] = time.perf_counter() - begun
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(answers, seconds, errors, time.perf_counter() - begun)


def mixed_texts(sentences: Sequence[str], count: int, seed: int = 7) -> list[str]:
    """Texts of one to six sentences, most of them short."""
    random_ = random.Random(seed)
    sizes = random_.choices((1, 2, 3, 6), (70, 15, 10, 5), k=count)
    return ["".join(random_.choices(sentences, k=size)) for size in sizes]

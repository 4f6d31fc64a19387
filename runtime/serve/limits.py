"""How much a client may ask for."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import RequestError, bad_request

WINDOW = 60.0  # seconds
_MOST_CLIENTS = 10_000  # that are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Limits of the service; -1 is none, as in LibreTranslate.

    Attributes:
        char_limit: characters of one text
        batch_limit: texts of one request
        alternatives_limit: alternatives of one text
        req_limit: texts a minute of one client, which is an API key or an address
        body_limit: bytes of a request
        body_timeout: seconds in which the whole request must have come
        concurrency_limit: requests that are in work at the same time
    """

    char_limit: int = -1
    batch_limit: int = -1
    alternatives_limit: int = 10
    req_limit: int = -1
    body_limit: int = 1_000_000
    body_timeout: float = 30.0
    concurrency_limit: int = 1000

    def check_texts(self, texts: Sequence[str], status: int = 400) -> None:
        """Raises RequestError where there are too many texts, or one is too long.

        Args:
            status: what the API in use says then
        """
        if 0 <= self.batch_limit < len(texts):
            raise RequestError(
                status, f"{len(texts)} texts in one request: the limit is {self.batch_limit}"
            )
        longest = max(map(len, texts), default=0)
        if 0 <= self.char_limit < longest:
            raise RequestError(
                status, f"a text of {longest} characters: the limit is {self.char_limit}"
            )

    def check_alternatives(self, count: int) -> None:
        """Raises RequestError where too many are wanted."""
        if 0 <= self.alternatives_limit < count:
            raise bad_request(f"alternatives is {count}: the limit is {self.alternatives_limit}")


class RateLimiter:
    """Counts what each client asked for in the last minute (a moving window)."""

    def __init__(
        self, limit: int, *, window: float = WINDOW, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """limit: of each client in a window of seconds; -1 is none."""
        self._limit, self._window, self._clock = limit, window, clock
        self._asked: dict[str, deque[tuple[float, int]]] = {}

    def admit(self, client: str, cost: int = 1) -> None:
        """Count a request.

        Raises:
            RequestError: 429, the client has asked for too much; this request is not counted
        """
        if self._limit < 0:
            return
        now = self._clock()
        asked = self._asked.setdefault(client, deque())
        while asked and asked[0][0] <= now - self._window:
            asked.popleft()
        room = self._limit - sum(count for _, count in asked)
        # What is larger than the limit itself would never be let in: it counts as all of it.
        cost = min(cost, max(1, self._limit))
        if cost > room:
            raise RequestError(
                429,
                f"Slowdown: {self._limit} a minute is the limit",
                retry_after=self._seconds_until(asked, cost - room, now),
            )
        asked.append((now, cost))
        if len(self._asked) > _MOST_CLIENTS:
            self._forget(now)

    def _seconds_until(self, asked: deque[tuple[float, int]], needed: int, now: float) -> int:
        for moment, count in asked:
            needed -= count
            if needed <= 0:
                return max(1, math.ceil(moment + self._window - now))
        return math.ceil(self._window)

    def _forget(self, now: float) -> None:
        """Keep those who asked last, half as many as there may be: so it happens seldom."""
        recent = [c for c, asked in self._asked.items() if asked[-1][0] > now - self._window]
        recent.sort(key=lambda client: self._asked[client][-1][0])
        self._asked = {client: self._asked[client] for client in recent[-_MOST_CLIENTS // 2 :]}

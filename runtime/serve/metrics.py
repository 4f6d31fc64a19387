"""What Prometheus may read of the service."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service, apart from those of any other in the process."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        """All at zero."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "tfm_requests", "Answered requests", ["endpoint", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "tfm_request_seconds",
            "Seconds from a request to the end of its answer",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._in_progress = Gauge(
            "tfm_requests_in_progress", "Requests in work", registry=self._registry
        )
        self._characters = Counter(
            "tfm_characters",
            "Characters of texts that were to be translated",
            ["source", "target"],
            registry=self._registry,
        )
        self._sentences = Counter(
            "tfm_sentences", "Translated sentences", ["source", "target"], registry=self._registry
        )
        self._waiting = Gauge(
            "tfm_sentences_waiting",
            "Sentences that are translated or wait in a batch's queue",
            registry=self._registry,
        )
        self._batches = Histogram(
            "tfm_batch_sentences",
            "Sentences in a batch of the model",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._loaded = Gauge("tfm_loaded", "1 once the models are", registry=self._registry)
        self.character_count = 0

    def request_began(self) -> None:
        """One more is in work."""
        self._in_progress.inc()

    def request_ended(self, endpoint: str, status: int, seconds: float) -> None:
        """It was answered."""
        self._in_progress.dec()
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def text_came(self, source: str, target: str, characters: int) -> None:
        """A text is to be translated."""
        self._characters.labels(source, target).inc(characters)
        self.character_count += characters

    def sentence_waits(self) -> None:
        """It was given to the model's queue."""
        self._waiting.inc()

    def sentence_ended(self, source: str, target: str, *, translated: bool) -> None:
        """It left the queue."""
        self._waiting.dec()
        if translated:
            self._sentences.labels(source, target).inc()

    def batch_ended(self, sentences: int) -> None:
        """The model has translated a batch."""
        self._batches.observe(sentences)

    def models_loaded(self) -> None:
        """Requests are answered from now on."""
        self._loaded.set(1)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

"""Threads share a translator: every answer is that of its sentence alone."""

from pathlib import Path

import pytest
from field.fuzzing.memory import Sample, draw, growth
from field.fuzzing.workload import Request, Subject, Workload
from field.soak import soak
from helpers.numerals import chinese
from helpers.tiny import write_tiny_multilingual_folder

from tfm.runtime import Translator


@pytest.fixture(scope="module")
def workload(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("languages") / "model"
    write_tiny_multilingual_folder(folder, tiny_folder)
    tiny, of_languages = (
        Translator(path, device="cpu", intra_threads=1) for path in (tiny_folder, folder)
    )
    sentences = [chinese(number) for number in (0, 7, 9876)]
    return Workload(
        [
            Subject(tiny, None, sentences),
            Subject(of_languages, "en", sentences[1:]),
            Subject(of_languages, "fr", sentences[1:]),
        ]
    )


def test_threads_answer_as_one_alone(workload: Workload) -> None:
    differences, samples = soak(workload, requests=200, threads=8)
    assert differences == []
    assert samples[-1].requests == 200


def test_another_answer_is_seen(workload: Workload) -> None:
    request = Request(subject=0, sentences=(1, 2), options=0, max_length=8)
    assert workload.difference(request) is None
    key = (0, 2, 0, 8)
    right = workload.alone[key]
    workload.alone[key] = [(text + "!", score) for text, score in right]
    assert "alone" in (workload.difference(request) or "")
    workload.alone[key] = right


def test_growth_of_memory(tmp_path: Path) -> None:
    flat = [Sample(n, 300 + (200 if n < 500 else n % 3)) for n in range(0, 10_000, 50)]
    leak = [Sample(n, 300 + n / 100) for n in range(0, 10_000, 50)]
    peaks = [Sample(n, 900 if n % 1000 == 0 else 300) for n in range(0, 10_000, 50)]
    assert abs(growth(flat)) < 0.01
    assert growth(leak) > 0.2
    assert growth(peaks) == 0
    with pytest.raises(ValueError, match="too few"):
        growth(flat[:12])
    draw(leak, "a leak", tmp_path / "leak.png")
    assert (tmp_path / "leak.png").read_bytes().startswith(b"\x89PNG")

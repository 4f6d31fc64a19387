"""`TableTranslator`: each kind of table, rows that cannot be translated, what pickling keeps."""

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import python
from helpers.needs import needs_module

from tfm.runtime import ModelError, TranslationError, Translator
from tfm.runtime.bundled import bundled_model
from tfm.runtime.cluster import TableTranslator, shared_translators
from tfm.runtime.documents import split_sentences

TEXTS = ["你好。", None, "", "  ", "我爱你。", "你好。", "谢谢。\n\n今天天气很好。"]


@pytest.fixture(scope="module")
def alone() -> Callable[[str], str]:
    """What the translator says of a sentence that is given to it alone."""
    translator = Translator(intra_threads=1)
    return lambda sentence: translator.translate(sentence, beam_size=2).text


@pytest.fixture
def tables() -> TableTranslator:
    return TableTranslator(column="zh", beam_size=2)


@pytest.fixture
def expected(alone: Callable[[str], str]) -> list[str | None]:
    by_line = {
        text: "\n".join(alone(line) if line.strip() else line for line in text.split("\n"))
        for text in TEXTS
        if text is not None
    }
    return [None if text is None else by_line[text] for text in TEXTS]


NO_ERRORS: list[str | None] = [None] * len(TEXTS)


def test_dicts_and_lists(tables: TableTranslator, expected: list[str | None]) -> None:
    given = {"zh": np.array(TEXTS, object), "id": np.arange(len(TEXTS))}
    found = tables(given)
    assert list(found) == ["zh", "id", "translation", "error"]
    assert list(given) == ["zh", "id"]
    assert all(isinstance(column, np.ndarray) for column in found.values())
    assert found["translation"].tolist() == expected
    assert found["error"].tolist() == NO_ERRORS

    found = tables({"zh": TEXTS})
    assert found == {"zh": TEXTS, "translation": expected, "error": NO_ERRORS}
    assert tables(TEXTS) == expected
    assert tables(tuple(TEXTS)) == tuple(expected)
    assert tables(np.array(TEXTS, object)).tolist() == expected
    rows = [{"zh": text, "id": number} for number, text in enumerate(TEXTS)]
    assert tables([{"other": 1}, *rows])[1:] == [
        {**row, "translation": text, "error": None}
        for row, text in zip(rows, expected, strict=True)
    ]
    assert tables([]) == []
    assert tables({"zh": []}) == {"zh": [], "translation": [], "error": []}


def test_pandas(tables: TableTranslator, expected: list[str | None]) -> None:
    pandas = needs_module("pandas")
    index = [3, 3, 1, 0, -1, 7, 2]
    frame = pandas.DataFrame({"zh": TEXTS, "id": range(len(TEXTS))}, index=index)
    found = tables(frame)
    assert list(found.columns) == ["zh", "id", "translation", "error"]
    assert list(found.index) == index
    assert list(frame.columns) == ["zh", "id"]
    assert found["translation"].tolist() == expected
    assert found["error"].tolist() == NO_ERRORS
    series = tables(frame["zh"])
    assert (series.name, list(series.index), series.tolist()) == ("zh", index, expected)
    missing = pandas.Series([float("nan"), pandas.NA, None, "我爱你。"], dtype=object)
    assert tables(missing).tolist() == [None, None, None, expected[4]]
    meta = tables.meta(frame)
    assert (len(meta), list(meta.columns)) == (0, list(found.columns))
    assert list(meta.dtypes) == list(found.dtypes)


def test_arrow(tables: TableTranslator, expected: list[str | None]) -> None:
    arrow = needs_module("pyarrow")
    table = arrow.table({"zh": TEXTS, "id": list(range(len(TEXTS)))})
    for given in (table, table.to_batches()[0]):
        found = tables(given)
        assert type(found) is type(given)
        assert found.schema.names == ["zh", "id", "translation", "error"]
        assert found.column("translation").to_pylist() == expected
        assert found.schema.field("error").type == arrow.string()  # also where all are None
        assert tables(found).schema.names == found.schema.names  # replaced, not added again
    assert tables(table.column("zh")).to_pylist() == expected
    dictionary = arrow.table({"zh": arrow.array(TEXTS).dictionary_encode()})
    assert tables(dictionary).column("translation").to_pylist() == expected


def test_iterators(tables: TableTranslator, expected: list[str | None]) -> None:
    """As Spark calls it: a table at a time, none read before it is asked for."""
    read: list[int] = []

    def batches() -> Iterator[dict[str, list[str | None]]]:
        for number in range(2):
            read.append(number)
            yield {"zh": TEXTS}

    found = tables(batches())
    assert read == []
    assert next(found)["translation"] == expected
    assert read == [0]
    assert len(list(found)) == 1


def test_nothing_of_a_long_text_is_dropped(alone: Callable[[str], str]) -> None:
    sentences = [f"我有{n}本书。" for n in range(120)]
    text = "".join(sentences)
    assert [text[b:e] for b, e in split_sentences(text)] == sentences
    found = TableTranslator(column="zh", beam_size=2)({"zh": [text]})
    assert found["translation"] == [" ".join(map(alone, sentences))]
    assert found["error"] == [None]

    whole = TableTranslator(column="zh", beam_size=2, split=False, max_length=20)({"zh": [text]})
    assert whole["error"][0].startswith("cut: ")
    assert whole["translation"][0]


def test_a_translation_that_was_cut() -> None:
    found = TableTranslator(max_length=2)({"text": ["今天天气很好。"]})
    assert found["error"] == ["cut: the translation of a sentence reached max_length"]


def test_rows_that_are_no_texts(tables: TableTranslator, expected: list[str | None]) -> None:
    found = tables({"zh": [5, "我爱你。", b"three", "\ud800", ["x"]]})
    assert found["translation"] == [None, expected[4], None, None, None]
    assert found["error"] == [
        "5 is no text but int",
        None,
        "b'three' is no text but bytes",
        "it holds half of a surrogate pair: it is no valid text",
        "['x'] is no text but list",
    ]


def test_a_sentence_that_fails_takes_no_other_with_it(
    tables: TableTranslator, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    translate = Translator.translate_batch

    def fail(self: Translator, sentences: list[str], **how: Any) -> Any:
        if any("天气" in sentence for sentence in sentences):
            raise TranslationError("not enough memory")
        return translate(self, sentences, **how)

    monkeypatch.setattr(Translator, "translate_batch", fail)
    found = tables({"zh": TEXTS})
    assert found["translation"] == [*expected[:-1], None]
    assert found["error"] == [*NO_ERRORS[:-1], "not enough memory"]


def test_what_is_wrong_with_all_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config.json"):
        TableTranslator(tmp_path)({"text": ["one"]})
    with pytest.raises(KeyError, match="no column 'zh': the table has 'en'"):
        TableTranslator(column="zh")({"en": ["one"]})
    with pytest.raises(KeyError, match="no column 'zh'"):
        TableTranslator(column="zh")([{"en": "one"}])
    with pytest.raises(TypeError, match="a int is no table"):
        TableTranslator()(5)
    with pytest.raises(ValueError, match="target_language is 'fr'"):
        TableTranslator(target_language="fr")({"text": ["one"]})
    with pytest.raises(ValueError, match="beam_size"):
        TableTranslator(beam_size=0)
    with pytest.raises(TypeError, match="beam_sizes"):
        TableTranslator(beam_sizes=1)
    with pytest.raises(ValueError, match="each needs its own name"):
        TableTranslator(column="error")


def test_it_is_pickled_as_its_arguments(
    tables: TableTranslator, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_translators, "_open", {})
    tables(TEXTS)
    data = pickle.dumps(tables)
    assert len(data) < 1000
    copies = [pickle.loads(data) for _ in range(2)]
    assert [copy(TEXTS) for copy in copies] == [expected] * 2
    assert len(shared_translators._open) == 1  # one model, whoever uses it
    assert repr(copies[0]) == repr(tables)
    assert copies[0].translator().sessions.threads == 1


def test_a_relative_path_is_found_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").symlink_to(bundled_model())
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(TableTranslator("mine"))
    monkeypatch.chdir("/")
    copy = pickle.loads(data)
    assert copy(["你好。"])[0]
    assert copy.translator().folder == tmp_path / "mine"


def _translate(tables: TableTranslator) -> Any:
    return os.getpid(), tables(TEXTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_worker(tables: TableTranslator, expected: list[str | None]) -> None:
    """Spark's daemon forks its workers, here after a model was loaded."""
    tables(TEXTS)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pid, found = pool.apply_async(_translate, (tables,)).get(60)
    assert (pid != os.getpid(), found) == (True, expected)


def test_no_library_of_tables_is_loaded() -> None:
    done = python(
        "import sys\n"
        "from tfm.runtime.cluster import TableTranslator\n"
        "TableTranslator()({'text': ['你好。']})\n"
        "print({'ray', 'pandas', 'pyarrow', 'dask', 'pyspark', 'click'} & set(sys.modules))\n"
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
    assert sys.modules["tfm.runtime.cluster"].__all__ == ["TableTranslator"]

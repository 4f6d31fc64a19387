"""Spark: its workers are forked, unpickle the function for every task, and call it with batches."""

import os
import sys
from pathlib import Path

import pytest
from helpers.needs import needs_module, needs_program

from tfm.runtime import Translator
from tfm.runtime.cluster import TableTranslator
from tfm.runtime.cluster.spark import spark_udf


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Spark about its own code
def test_batches_of_a_forked_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_program("java")
    needs_module("pyspark")
    needs_module("pandas")
    from pyspark.sql import SparkSession

    monkeypatch.setitem(os.environ, "PYSPARK_PYTHON", sys.executable)
    monkeypatch.chdir(tmp_path)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "10")
        .getOrCreate()
    )
    texts = [f"我有{n}本书。" if n % 7 else None for n in range(60)]
    with Translator() as alone:
        expected = [text and alone.translate(text, beam_size=1).text for text in texts]
    translator = TableTranslator(column="zh", beam_size=1)
    try:
        rows = [(number, text) for number, text in enumerate(texts)]
        table = session.createDataFrame(rows, "id int, zh string").repartition(4)
        translated = spark_udf(translator)
        found = table.withColumn("new", translated("zh")).orderBy("id").collect()
        assert [row.zh for row in found] == texts
        assert [row.new.translation for row in found] == expected
        assert [row.new.error for row in found] == [None] * len(texts)

        # The object itself, table in and table out.
        columns = "id int, zh string, translation string, error string"
        found = table.mapInPandas(translator, columns).orderBy("id").collect()
        assert [row.translation for row in found] == expected
    finally:
        session.stop()

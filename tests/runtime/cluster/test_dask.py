"""Dask: partitions in threads and in processes."""

import pytest
from helpers.needs import needs_module

from tfm.runtime import Translator
from tfm.runtime.cluster import TableTranslator


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_partitions(scheduler: str) -> None:
    pandas = needs_module("pandas")
    dataframe = needs_module("dask.dataframe")
    texts = [f"我有{n}本书。" for n in range(30)]
    table = dataframe.from_pandas(pandas.DataFrame({"zh": texts, "id": range(30)}), npartitions=4)
    translator = TableTranslator(column="zh", beam_size=1)
    lazy = table.map_partitions(translator, meta=translator.meta(table._meta))
    found = lazy.compute(scheduler=scheduler, num_workers=2)
    with Translator() as alone:
        expected = [alone.translate(text, beam_size=1).text for text in texts]
    assert found["translation"].tolist() == expected
    assert found["id"].tolist() == list(range(30))
    assert found["error"].isna().all()

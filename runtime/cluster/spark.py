"""A user-defined function for Spark, which calls a TableTranslator with the batches of a task."""

import importlib
from collections.abc import Iterator
from typing import Any

from .table_translator import TableTranslator


def spark_udf(translator: TableTranslator) -> Any:
    """A pandas_udf from a column of strings to a struct of two strings, which have the names of
    the translator's columns.

    Example:
        >>> translated = spark_udf(TableTranslator("zh-en"))
        >>> table.withColumn("new", translated("zh")).select("zh", "new.translation")

    Raises:
        ModuleNotFoundError: there is no pyspark, or no pandas
    """
    functions = importlib.import_module("pyspark.sql.functions")
    pandas = importlib.import_module("pandas")

    def translated(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield translator(batch.to_frame(translator.column))[
                [translator.output_column, translator.error_column]
            ]

    # Spark reads from the annotations what it passes in.
    of: Any = Iterator
    translated.__annotations__ = {
        "batches": of[pandas.Series],
        "return": of[pandas.DataFrame],
    }
    fields = f"`{translator.output_column}` string, `{translator.error_column}` string"
    return functions.pandas_udf(translated, returnType=fields)

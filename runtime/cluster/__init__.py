"""Translating tables on many machines: a callable for Ray Data, Spark and Dask, and a job that
translates folders of files on Ray.

Only ray_job.py imports Ray, spark.py Spark, and files of tables pyarrow, each when it is used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .table_translator import TableTranslator

__all__ = ["TableTranslator"]


def __getattr__(name: str) -> object:
    if name == "TableTranslator":
        from .table_translator import TableTranslator

        return TableTranslator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

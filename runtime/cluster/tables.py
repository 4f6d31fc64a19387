"""Tables of many libraries: a column's values, and the same table with more columns.

None of the libraries is imported: a value can only be theirs where its maker has imported them.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Texts = Sequence[str | None]


def column_of(table: Any, column: str) -> list[Any]:
    """The values of a column, or of what is one column itself: a list, an array, a Series.

    Args:
        table: a dict of arrays or lists, a pandas DataFrame or Series, a pyarrow Table,
            RecordBatch or Array, a numpy array, or a list of texts or of dicts

    Raises:
        KeyError: it has no such column
        TypeError: it is none of these
    """
    if isinstance(table, Mapping) or _is(table, "pandas", "DataFrame"):
        _check_column(column, list(table))
        return _values(table[column])
    if _is(table, "pyarrow", "Table", "RecordBatch"):
        _check_column(column, table.schema.names)
        return _values(table.column(column))
    if isinstance(table, list) and _are_rows(table):
        if not any(column in row for row in table):
            _check_column(column, [name for row in table for name in row])
        return [row.get(column) for row in table]
    return _values(table)


def with_columns(table: Any, texts: Mapping[str, Texts]) -> Any:
    """A table of the same kind with these columns as well; those of the same names are replaced.

    What is one column itself becomes the first of the texts alone. The table itself stays as it is.
    """
    first = next(iter(texts.values()))
    if _is(table, "pandas", "DataFrame"):
        return table.assign(**{name: _series(table, values) for name, values in texts.items()})
    if _is(table, "pandas", "Series"):
        return _series(table, first)
    if _is(table, "pyarrow", "Table", "RecordBatch"):
        for name, values in texts.items():
            table = _with_arrow_column(table, name, values)
        return table
    if _is(table, "pyarrow", "Array", "ChunkedArray"):
        return _arrow_array(first)
    if isinstance(table, Mapping):
        of_lists = all(isinstance(values, list) for values in table.values())
        return {
            **table,
            **{n: list(values) if of_lists else _array(values) for n, values in texts.items()},
        }
    if isinstance(table, np.ndarray):
        return _array(first)
    if isinstance(table, list) and _are_rows(table):
        columns = list(texts)
        rows = zip(*texts.values(), strict=True)
        return [
            {**row, **dict(zip(columns, values, strict=True))}
            for row, values in zip(table, rows, strict=True)
        ]
    return type(table)(first)


def is_missing(value: object) -> bool:
    """Whether a table means by it that there is nothing: None, NaN, pandas.NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _values(values: Any) -> list[Any]:
    if _is(values, "pyarrow", "Array", "ChunkedArray"):
        return list(values.to_pylist())
    if isinstance(values, (list, tuple)) or _is(values, "pandas", "Series"):
        return list(values)
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return list(values.tolist())
    raise TypeError(
        f"a {type(values).__name__} is no table: give a dict of arrays, a pandas DataFrame or"
        " Series, a pyarrow Table, or a list"
    )


def _check_column(column: str, names: list[str]) -> None:
    if column not in names:
        listed = ", ".join(map(repr, dict.fromkeys(names))) or "none"
        raise KeyError(f"no column {column!r}: the table has {listed}")


def _are_rows(table: list[Any]) -> bool:
    return bool(table) and all(isinstance(row, Mapping) for row in table)


def _is(value: object, library: str, *names: str) -> bool:
    """Whether it is an instance of one of a library's classes."""
    module = sys.modules.get(library)
    return module is not None and isinstance(value, tuple(getattr(module, n) for n in names))


def _array(values: Texts) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _series(table: Any, values: Texts) -> Any:
    pandas = sys.modules["pandas"]
    name = getattr(table, "name", None)
    return pandas.Series(_array(values), index=table.index, name=name, dtype=object)


def _arrow_array(values: Texts) -> Any:
    pyarrow = sys.modules["pyarrow"]
    return pyarrow.array(values, pyarrow.string())  # where all are None, too


def _with_arrow_column(table: Any, name: str, values: Texts) -> Any:
    if name in table.schema.names:
        return table.set_column(table.schema.names.index(name), name, _arrow_array(values))
    if hasattr(table, "append_column"):
        return table.append_column(name, _arrow_array(values))
    arrays = [*table.columns, _arrow_array(values)]  # a RecordBatch of an older pyarrow
    return type(table).from_arrays(arrays, [*table.schema.names, name])

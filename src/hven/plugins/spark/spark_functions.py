"""Functions of Hven on the workers of the cluster, as Arrow UDFs.

A few lines are sent to the workers (`build_worker_function`). They call the function by name in the Hven that is
installed there, which must be of the same version. On a worker without Hven, or with another version, the query fails
with a message that says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import hven
from hven.engines.api.sky_functions import FUNCTION_SIGNATURES, SKY_FUNCTIONS, skip_null_rows
from hven.plugins.spark.cell_matches import list_circle_cells

if TYPE_CHECKING:
    from collections.abc import Callable

_ARROW_TYPES = {
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "DOUBLE[]": pa.list_(pa.float64()),
    "BIGINT[]": pa.list_(pa.int64()),
}


def _compute_circle_cells(order: Any, lon: Any, lat: Any, radius: Any) -> pa.Array:
    """List for each row the cells that its circle may touch; the order is the same in all rows."""
    if not len(order):
        return pa.array([], _ARROW_TYPES["BIGINT[]"])
    numbers = (np.asarray(column.to_numpy(zero_copy_only=False), np.float64) for column in (lon, lat, radius))
    return list_circle_cells(order[0].as_py(), *numbers)


#: Name -> function over whole columns.
WORKER_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {**SKY_FUNCTIONS, "hven_cells": _compute_circle_cells}
#: Name -> argument types and result type, in SQL.
WORKER_FUNCTION_TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    **FUNCTION_SIGNATURES,
    "hven_cells": (("INTEGER", "DOUBLE", "DOUBLE", "DOUBLE"), "BIGINT[]"),
}


def run_worker_function(name: str, *columns: pa.Array) -> pa.Array:
    """Compute a function on a worker.

    Parameters
    ----------
    name
        Name of the function, one of `WORKER_FUNCTION_TYPES`.
    columns
        Its arguments, with a value for each row.
    """
    argument_types, result_type = WORKER_FUNCTION_TYPES[name]
    argument_columns = [_cast_to_spark_type(column, kind) for column, kind in zip(columns, argument_types, strict=True)]
    result_column = skip_null_rows(WORKER_FUNCTIONS[name])(*argument_columns)
    return _cast_to_spark_type(result_column, result_type)


def _cast_to_spark_type(column: pa.Array, type_name: str) -> pa.Array:
    arrow_type = _ARROW_TYPES[type_name]
    if column.type == arrow_type:
        return column
    return column.cast(arrow_type)


def build_worker_function(name: str, version: str = hven.__version__) -> Callable[..., pa.Array]:
    """Build the function that is sent to the workers; it is pickled by value, because Hven may be missing there."""

    def call(*columns: Any) -> Any:
        import importlib  # noqa: PLC0415  (that of the worker)

        worker_version = importlib.import_module("hven").__version__
        if worker_version != version:
            raise RuntimeError(f"the workers have hven {worker_version}, but this server has {version}")
        return importlib.import_module("hven.plugins.spark.spark_functions").run_worker_function(name, *columns)

    return call


def build_worker_probe(roots: tuple[str, ...]) -> Callable[..., pa.Array]:
    """Build a function that describes a worker in a line of text.

    The fields are host, Python, Hven (empty: none), and the roots that the worker does not see. It is pickled by value.
    """

    def describe_worker(column: Any) -> Any:
        import importlib  # noqa: PLC0415  (that of the worker)
        import os  # noqa: PLC0415  (that of the worker)
        import platform  # noqa: PLC0415  (that of the worker)
        import sys  # noqa: PLC0415  (that of the worker)

        import pyarrow as pa  # noqa: PLC0415  (that of the worker)

        try:
            version = importlib.import_module("hven").__version__
        except ImportError:
            version = ""
        unseen_roots = []
        for root in roots:
            # The worker imports nothing else.
            is_seen = os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK)  # noqa: PTH112
            if not is_seen:
                unseen_roots.append(root)
        python_version = ".".join(map(str, sys.version_info[:3]))
        worker_line = "\t".join([platform.node(), python_version, version, *unseen_roots])
        return pa.array([worker_line] * len(column), pa.string())

    return describe_worker


def list_functions_in_sql(sql: str) -> list[str]:
    """List the functions of Hven that an SQL text names."""
    return [name for name in dict.fromkeys(re.findall(r"\bhven_\w+", sql)) if name in WORKER_FUNCTION_TYPES]

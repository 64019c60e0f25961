"""Functions of ours on the workers, as Arrow UDFs.

What is sent is a call by name, what computes is the Hven that is installed there, of the same version.

Sent by value are a few lines only (`build_worker_call`); a worker without Hven, or with another one, says so and fails
the query.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import hven
from hven.engines._sky_functions import FUNCTION_SIGNATURES, SKY_FUNCTIONS, skip_null_rows
from hven.engines.hats.cell_matches import list_circle_cells

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


def _compute_cells(order: Any, lon: Any, lat: Any, radius: Any) -> pa.Array:
    """Spread rows over the cells that their circles may touch; the order is the same in all rows."""
    if not len(order):
        return pa.array([], _ARROW_TYPES["BIGINT[]"])
    numbers = (np.asarray(column.to_numpy(zero_copy_only=False), np.float64) for column in (lon, lat, radius))
    return list_circle_cells(order[0].as_py(), *numbers)


#: Name -> what computes it, over whole vectors.
WORKER_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {**SKY_FUNCTIONS, "hven_cells": _compute_cells}
#: Name -> (argument types, result type), in SQL's words.
WORKER_FUNCTION_TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    **FUNCTION_SIGNATURES,
    "hven_cells": (("INTEGER", "DOUBLE", "DOUBLE", "DOUBLE"), "BIGINT[]"),
}


def compute_function(name: str, *columns: pa.Array) -> pa.Array:
    """Compute a function on a worker.

    Parameters
    ----------
    name
        Of `WORKER_FUNCTION_TYPES`.
    columns
        Its arguments, a value for each row.
    """
    argument_types, result = WORKER_FUNCTION_TYPES[name]
    argument_columns = (
        column if column.type == _ARROW_TYPES[kind] else column.cast(_ARROW_TYPES[kind])
        for column, kind in zip(columns, argument_types, strict=True)
    )
    result_column = skip_null_rows(WORKER_FUNCTIONS[name])(*argument_columns)
    if result_column.type == _ARROW_TYPES[result]:
        return result_column
    return result_column.cast(_ARROW_TYPES[result])


def build_worker_call(name: str, version: str = hven.__version__) -> Callable[..., pa.Array]:
    """Make what is sent to the workers: a function that is pickled by value, for Hven may not be there."""

    def call(*columns: Any) -> Any:
        import importlib  # noqa: PLC0415  (that of the worker)

        worker_version = importlib.import_module("hven").__version__
        if worker_version != version:
            raise RuntimeError(f"hven {worker_version} is on the workers, and here is {version}")
        return importlib.import_module("hven.engines.hats.spark_functions").compute_function(name, *columns)

    return call


def build_worker_probe(roots: tuple[str, ...]) -> Callable[..., pa.Array]:
    """Make a function that tells of a worker.

    Host, Python, Hven (empty: none), then which of the roots it does not see. Sent by value, as above.
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
        # nothing else is imported there
        unseen_roots = [root for root in roots if not (os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK))]  # noqa: PTH112
        worker_line = "\t".join([platform.node(), ".".join(map(str, sys.version_info[:3])), version, *unseen_roots])
        return pa.array([worker_line] * len(column), pa.string())

    return describe_worker


def list_named_functions(sql: str) -> list[str]:
    """List the functions of ours that SQL names."""
    return [name for name in dict.fromkeys(re.findall(r"\bhven_\w+", sql)) if name in WORKER_FUNCTION_TYPES]


__all__ = [
    "WORKER_FUNCTION_TYPES",
    "build_worker_call",
    "build_worker_probe",
    "compute_function",
    "list_named_functions",
]

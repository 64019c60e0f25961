"""Functions of ours on the workers, as Arrow UDFs: what is sent is a call by name, what computes is the Hven that is installed there, of the same version.

Sent by value are a few lines only (`call_of`); a worker without Hven, or with another one, says so and fails the query.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import hven
from hven.engines._functions import FUNCTIONS, SIGNATURES, of_whole_rows
from hven.engines.hats.matches import cells

if TYPE_CHECKING:
    from collections.abc import Callable

_ARROW = {
    "BOOLEAN": pa.bool_(), "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "VARCHAR": pa.string(), "DOUBLE[]": pa.list_(pa.float64()),
    "BIGINT[]": pa.list_(pa.int64()),
}  # fmt: skip


def _cells(order: Any, lon: Any, lat: Any, radius: Any) -> pa.Array:
    """Spread rows over the cells that their circles may touch; the order is the same in all rows."""
    if not len(order):
        return pa.array([], _ARROW["BIGINT[]"])
    numbers = (np.asarray(column.to_numpy(zero_copy_only=False), np.float64) for column in (lon, lat, radius))
    return cells(order[0].as_py(), *numbers)


#: Name -> what computes it, over whole vectors.
CALLS: dict[str, Callable[..., pa.Array]] = {**FUNCTIONS, "hven_cells": _cells}
#: Name -> (argument types, result type), in SQL's words.
TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    **SIGNATURES,
    "hven_cells": (("INTEGER", "DOUBLE", "DOUBLE", "DOUBLE"), "BIGINT[]"),
}


def called(name: str, *columns: pa.Array) -> pa.Array:
    """Compute a function on a worker.

    Parameters
    ----------
    name
        Of `TYPES`.
    columns
        Its arguments, a value for each row.
    """
    kinds, result = TYPES[name]
    given = (
        column if column.type == _ARROW[kind] else column.cast(_ARROW[kind])
        for column, kind in zip(columns, kinds, strict=True)
    )
    found = of_whole_rows(CALLS[name])(*given)
    return found if found.type == _ARROW[result] else found.cast(_ARROW[result])


def call_of(name: str, version: str = hven.__version__) -> Callable[..., pa.Array]:
    """Make what is sent to the workers: a function that is pickled by value, for Hven may not be there."""

    def call(*columns: Any) -> Any:
        import importlib  # noqa: PLC0415  (that of the worker)

        there = importlib.import_module("hven").__version__
        if there != version:
            raise RuntimeError(f"hven {there} is on the workers, and here is {version}")
        return importlib.import_module("hven.engines.hats.spark_functions").called(name, *columns)

    return call


def facts_of(roots: tuple[str, ...]) -> Callable[..., pa.Array]:
    """Make a function that tells of a worker: host, Python, Hven (empty: none), then which of the roots it does not see. Sent by value, as above."""

    def tell(column: Any) -> Any:
        import importlib  # noqa: PLC0415  (that of the worker)
        import os  # noqa: PLC0415  (that of the worker)
        import platform  # noqa: PLC0415  (that of the worker)
        import sys  # noqa: PLC0415  (that of the worker)

        import pyarrow as pa  # noqa: PLC0415  (that of the worker)

        try:
            version = importlib.import_module("hven").__version__
        except ImportError:
            version = ""
        away = [root for root in roots if not (os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK))]  # noqa: PTH112  (nothing else is imported there)
        said = "\t".join([platform.node(), ".".join(map(str, sys.version_info[:3])), version, *away])
        return pa.array([said] * len(column), pa.string())

    return tell


def named(sql: str) -> list[str]:
    """List the functions of ours that SQL names."""
    return [name for name in dict.fromkeys(re.findall(r"\bhven_\w+", sql)) if name in TYPES]


__all__ = ["TYPES", "call_of", "called", "facts_of", "named"]

"""Functions over columns that plug-in packages add to engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class EngineFunction(NamedTuple):
    """A function of columns without nulls; the engine gives null in rows with a null.

    Attributes
    ----------
    argument_types, result_type
        Types of the engine.
    compute
        Takes Arrow arrays (rows,), and returns an Arrow array (rows,).
    """

    argument_types: tuple[str, ...]
    result_type: str
    compute: Callable[..., pa.Array]


@dataclass(frozen=True, kw_only=True)
class EngineFunctions:
    """What an engine needs to compute the functions of a package.

    Attributes
    ----------
    functions
        Functions that the SQL names: ``hven_night_altitude``. The names of all packages differ.
    macros
        Statements ``CREATE OR REPLACE MACRO hven_..``, of which each is executed when a query first names its macro.
    parallel_functions
        Those of `functions` that compute on all cores themselves. A query with one of them gets one thread of the
        engine.
    """

    functions: Mapping[str, EngineFunction] = field(default_factory=dict)
    macros: tuple[str, ...] = ()
    parallel_functions: tuple[str, ...] = ()


def iterate_engine_functions(engine: str) -> Iterator[EngineFunctions]:
    """Load what the packages in use add to an engine.

    Parameters
    ----------
    engine
        Name of the engine.

    Yields
    ------
    engine_functions
        The functions of a package.
    """
    for package in plugins.list_plugin_packages():
        place = package.engine_functions.get(engine)
        if place is not None:
            yield plugins.load_named_object(place, f"the plug-in package {package.name}")


def to_single_array(column: Any) -> Any:
    """Return a column, which may be in chunks, as one Arrow array.

    Parameters
    ----------
    column
        An Arrow array, or a chunked one.
    """
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()


def to_numpy(column: Any) -> Any:
    """Return a column without nulls as a NumPy array.

    Parameters
    ----------
    column
        An Arrow array, or a chunked one.
    """
    return np.asarray(to_single_array(column).to_numpy(zero_copy_only=False))

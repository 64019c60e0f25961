"""What compiling a table's settings gives: bound queries, checks, Python calls - all that ingest executes."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.errors import Fault, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as Dict
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.errors import Place
    from hven.model.table import Table
    from hven.model.types import Type

SOURCE = "source"  # names of the relations that `engine.compute` is given
TARGET = "target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A Python function beside the descriptor, called with whole Arrow arrays before the mapping.

    For each batch, in order: ``arrays = engine.compute(call.args, {"source": batch}).columns``,
    ``batch = batch.append_column(call.output, call.load()(*arrays))``.
    """

    name: str
    path: Path
    args: Bound
    output: str
    type: Type
    place: Place

    def load(self) -> Callable[..., pa.Array]:
        """Import the file and give the function.

        Raises
        ------
        UserError
            The file cannot be imported, or has no such function.
        """
        spec = importlib.util.spec_from_file_location(f"hven_beside_{self.path.stem}", self.path)
        if spec is None or spec.loader is None:
            raise UserError(f"{self.path.name} is no Python file", place=self.place)
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(self.path.parent))  # the file may import its neighbours
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the curator's file raises is the curator's to see
            raise UserError(f"{self.path.name} cannot be imported: {type(error).__name__}: {error}", place=self.place) from error
        finally:
            sys.path.remove(str(self.path.parent))
        function = getattr(module, self.name, None)
        if not callable(function):
            raise UserError(f"{self.path.name} has no function {self.name!r}", place=self.place)
        return function  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition that rows must meet; the query gives the row numbers (column `ROW`) of those that do not.

    Attributes
    ----------
    over
        ``source``: run with {"source": batch, **mapping.lookups}; ``target``: with {"target": mapped batch}.
    """

    name: str
    message: str
    severity: str
    bound: Bound
    over: str
    columns: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """What ingest executes.

    Attributes
    ----------
    table
        The target: columns final (types, units, descriptions taken from the source where the descriptor is silent) and
        with `origins` filled.
    queries
        SELECTs over ``source`` (and `lookups`), already filtered by `where`; one per granule, one without granules. Output: the table's
        columns in order, then `ROW` (int64). Rows of a batch that a query leaves out were skipped by `where`.
        Numbers come as computed: the caller casts to ``table.arrow`` *safely*, so that 3.7 in an int column is found.
    where
        ``SELECT ROW FROM source WHERE ..`` alone, or None.
    checks
        Rules, lookups with ``missing: error``, text that could not be read as a time or a boolean.
    needed
        Columns to ask of the source: real ones, `ROW` and FILE_FACTS.
    wanted
        For `sources.Context.wanted`: source columns that are only copied -> Arrow type of their target.
    copies
        Target -> source column where a value only crosses over: numbers and text, or one and the same type, in one unit. The
        caller may take it from the source batch itself.
    conversions
        Target -> source column where the query converts one value (text to a time, another unit). `checks` find the rows
        whose text could not be read.
    lookups
        Further relations for `engine.compute`.
    calls
        Python functions to run first, in this order.
    source
        The pseudo table that the queries are bound to.
    """

    table: Table
    queries: tuple[Bound, ...]
    where: Bound | None = None
    checks: tuple[Check, ...] = ()
    needed: tuple[str, ...] = ()
    wanted: Dict[str, pa.DataType] = field(default_factory=dict)
    copies: Dict[str, str] = field(default_factory=dict)
    conversions: Dict[str, str] = field(default_factory=dict)
    warnings: tuple[Fault, ...] = ()
    lookups: Dict[str, pa.Table] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    source: Table

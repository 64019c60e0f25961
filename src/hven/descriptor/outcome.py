"""What compiling a table's settings gives: bound queries, checks, Python calls - all that ingest executes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import Fault, UserError
from hven.sources.beside import Failure, Python

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as Dict
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.model.errors import Place
    from hven.model.resource import Rule
    from hven.model.table import Table
    from hven.model.types import Type

SOURCE = "source"  # names of the relations that `engine.compute` is given
TARGET = "target"
WATERMARK = "watermark"  # the column of `Mapping.watermark`


class Broken(Exception):
    """A fault was noted already; what depends on it says nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A Python function beside the descriptor, called with whole Arrow arrays before the mapping.

    For each batch, in order: ``arrays = engine.compute(call.args, {"source": batch}).columns``,
    ``batch = batch.append_column(call.output, call.load()(*arrays))``.

    Without a `path` it is a function of our own that looks outward (`name`); the caller has it.

    Attributes
    ----------
    type
        Of the result.
    place
        Where the descriptor names it.
    """

    name: str
    path: Path | None
    args: Bound
    output: str
    type: Type
    place: Place

    def load(self, python: Python | None = None) -> Callable[..., pa.Array | str]:
        """Import the file of a function, in a process of its own.

        Parameters
        ----------
        python
            The process; None: a new one.

        Returns
        -------
        call
            Takes and returns columns of shape (n,); what it returns that is no column is the name of its type.

        Raises
        ------
        UserError
            The file cannot be imported, or has no such function.
        """
        if self.path is None:
            raise UserError(f"{self.name} is computed at ingest only", place=self.place)

        python = python or Python()
        path = self.path.resolve()
        try:
            python.load(path, self.name)
        except Failure as error:
            said = str(error)
            message = said if said.startswith(f"{path.name} ") else f"{path.name} cannot be imported: {said}"
            raise UserError(message, place=self.place) from error

        def call(*arrays: pa.Array, seconds: float | None = None) -> pa.Array | str:
            return python.call(path, self.name, arrays, seconds=seconds)

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One aggregate over a group: ``function(args)`` becomes the source column `output`.

    Attributes
    ----------
    args
        Columns of `Groups.bound`: the value, and what it is ordered by.
    distinct
        Each value once.
    separator
        Of texts that are joined.
    type
        Of the result.
    """

    output: str
    function: str
    args: tuple[str, ...]
    distinct: bool
    separator: str | None
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """How source rows become groups, which the mapping then takes for source rows.

    Attributes
    ----------
    bound
        SELECT over ``source``, filtered by `where`: keys and arguments of aggregates by name, then `ROW`.
    keys
        Columns of `bound` that make groups, besides the source columns `simple`.
    plain
        Source columns that must have one value in each group (nulls beside it do not count).
    """

    bound: Bound
    keys: tuple[str, ...]
    simple: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    plain: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition that rows must meet; the query gives the row numbers (column `ROW`) of those that do not.

    Attributes
    ----------
    name
        Under which the report counts it.
    message
        What is wrong with a row that breaks it.
    severity
        ``error``, ``warning`` or ``info``.
    bound
        The query.
    over
        ``source``: run with {"source": batch, **mapping.lookups}; ``target``: with {"target": mapped batch}.
    columns
        Those that it is about.
    flag
        Bit of the column of flags that it sets.
    place
        Where the descriptor says it.
    """

    name: str
    message: str
    severity: str
    bound: Bound
    over: str
    columns: tuple[str, ...]
    flag: int | None = None
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
    warnings
        Of what was compiled.
    lookups
        Further relations for `engine.compute`.
    calls
        Python functions to run first, in this order.
    joint
        All `checks` over ``target`` in one query: `ROW` of the rows that fail any, and for each check in order a column ``check0`` ...
        that is 1 where it fails. None if there are none.
    rules
        Rules that look at whole columns (`Rule.check`), without those that are off.
    vocabularies
        Words for them.
    flags
        Name of the column whose bits `checks` and `rules` set; the queries give 0.
    observations
        What the table gives to ivoa.obscore and ivoa.obscore_radio: mappings whose source is this table.
    source
        The pseudo table that the queries are bound to.
    each
        Array columns of the source whose elements, in step, are the rows that all else is about; `needed` names them.
    groups
        How rows are grouped before the mapping; None: they are not. `where` is applied before.
    watermark
        ``SELECT .. AS watermark, ROW FROM source``: what `sync: watermark` says, of each source row.
    watched
        Columns to ask of the source for it, besides `needed`.
    contours
        For each of `queries` ``SELECT name, said, area, ROW FROM source``: why the contour that ``s_region`` is made of has no region, and its area (deg**2); None where it is made
        of none.
    filled
        Columns that follow from these contours.
    first_dates
        Columns that are made of the time of this run alone, as the descriptor has no ``created:``; they say when a row came.
    change_dates
        Those of them that say when a row was changed last, by their UCD.
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
    joint: Bound | None = None
    rules: tuple[Rule, ...] = ()
    vocabularies: Dict[str, tuple[str, ...]] = field(default_factory=dict)
    flags: str | None = None
    observations: tuple[Mapping, ...] = ()
    source: Table
    each: tuple[str, ...] = ()
    groups: Groups | None = None
    watermark: Bound | None = None
    watched: tuple[str, ...] = ()
    contours: tuple[Bound | None, ...] = ()
    filled: frozenset[str] = frozenset()
    first_dates: frozenset[str] = frozenset()
    change_dates: frozenset[str] = frozenset()

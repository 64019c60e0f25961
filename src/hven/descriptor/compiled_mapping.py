"""What compiling a table's settings gives: bound queries, checks, Python calls - all that ingest executes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import Fault, UserError
from hven.sources.curator_process import CuratorCodeError, CuratorProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as AbstractMapping
    from pathlib import Path

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.model.errors import TextPlace
    from hven.model.resource import ValidationRule
    from hven.model.table import Table
    from hven.model.types import ColumnType

SOURCE_RELATION = "source"  # names of the relations that `engine.evaluate_query` is given
TARGET_RELATION = "target"
WATERMARK_COLUMN = "watermark"  # the column of `CompiledMapping.watermark_query`


class FaultReportedError(Exception):
    """A fault was noted already; what depends on it says nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunctionCall:
    """A Python function beside the descriptor, called with whole Arrow arrays before the mapping.

    For each batch, in order: ``arrays = engine.evaluate_query(call.argument_query, {"source": batch}).columns``,
    ``batch = batch.append_column(call.output_column, call.load()(*arrays))``.

    Without a `path` it is a function of our own that looks outward (`name`); the caller has it.

    Attributes
    ----------
    type
        Type of the result.
    place
        Place in the descriptor.
    """

    name: str
    path: Path | None
    argument_query: BoundQuery
    output_column: str
    type: ColumnType
    place: TextPlace

    def load_function(self, python_process: CuratorProcess | None = None) -> Callable[..., pa.Array | str]:
        """Import the file of a function, in a process of its own.

        Parameters
        ----------
        python_process
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
            raise UserError(f"the function {str(self.name)!r} works only at ingest", place=self.place)

        python_process = python_process or CuratorProcess()
        path = self.path.resolve()
        try:
            python_process.load_function(path, self.name)
        except CuratorCodeError as error:
            failure_text = str(error)
            if failure_text.startswith(f"{path.name} "):
                message = failure_text
            else:
                message = f"{path.name} cannot be imported: {failure_text}"
            raise UserError(message, place=self.place) from error

        def call_function(*arrays: pa.Array, seconds: float | None = None) -> pa.Array | str:
            return python_process.call_function(path, self.name, arrays, timeout_seconds=seconds)

        return call_function


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAggregate:
    """One aggregate over a group: ``function(args)`` becomes the source column `output`.

    Attributes
    ----------
    argument_columns
        Columns of `RowGroupPlan.bound`: the value, and what it is ordered by.
    is_distinct
        Each value once.
    separator
        Separator of joined texts.
    type
        Type of the result.
    """

    output: str
    function: str
    argument_columns: tuple[str, ...]
    is_distinct: bool
    separator: str | None
    type: ColumnType


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroupPlan:
    """How source rows become groups, which the mapping then takes for source rows.

    Attributes
    ----------
    bound
        SELECT over ``source``, filtered by `where`: keys and arguments of aggregates by name, then `ROW`.
    key_columns
        Columns of `bound` that make groups, besides the source columns `simple_key_columns`.
    plain_columns
        Source columns that must have one value in each group (nulls beside it do not count).
    """

    bound: BoundQuery
    key_columns: tuple[str, ...]
    simple_key_columns: tuple[str, ...]
    aggregates: tuple[GroupAggregate, ...]
    plain_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
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
    relation_name
        ``source``: run with {"source": batch, **mapping.lookups}; ``target``: with {"target": mapped batch}.
    columns
        Those that it is about.
    flag
        Bit of the column of flags that it sets.
    place
        Place in the descriptor.
    """

    name: str
    message: str
    severity: str
    bound: BoundQuery
    relation_name: str
    columns: tuple[str, ...]
    flag: int | None = None
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledMapping:
    """What ingest executes.

    Attributes
    ----------
    table
        The target: columns final (types, units, descriptions taken from the source where the descriptor is silent) and
        with `origins` filled.
    queries
        SELECTs over ``source`` (and `lookups`), already filtered by `row_filter_query`; one per granule, one without
        granules. Output: the table's columns in order, then `ROW` (int64). Rows of a batch that a query leaves out were
        skipped by `row_filter_query`. Numbers come as computed: the caller casts to ``table.arrow_schema`` *safely*, so
        that 3.7 in an int column is found.
    row_filter_query
        ``SELECT ROW FROM source WHERE ..`` alone, or None.
    checks
        Rules, lookups with ``missing: error``, text that could not be read as a time or a boolean.
    needed_columns
        Columns to ask of the source: real ones, `ROW` and FILE_FACTS.
    read_types
        For `sources.SourceContext.target_types`: source columns that are only copied -> Arrow type of their target.
    copies
        Target -> source column where a value only crosses over: numbers and text, or one and the same type, in one
        unit. The caller may take it from the source batch itself.
    conversions
        Target -> source column where the query converts one value (text to a time, another unit). `checks` find the
        rows whose text could not be read.
    warnings
        Warnings about the compiled mapping.
    lookups
        Further relations for `engine.evaluate_query`.
    calls
        Python functions to run first, in this order.
    combined_rule_query
        All `checks` over ``target`` in one query: `ROW` of the rows that fail any, and for each check in order a column
        ``check0`` ... that is 1 where it fails. None if there are none.
    column_rules
        Rules that look at whole columns (`ValidationRule.check`), without those that are off.
    vocabularies
        Words for them.
    flags_column
        Name of the column whose bits `checks` and `column_rules` set; the queries give 0.
    observations
        What the table gives to ivoa.obscore and ivoa.obscore_radio: mappings whose source is this table.
    source
        The pseudo table that the queries are bound to.
    unrolled_columns
        Array columns of the source whose elements, in step, are the rows that all else is about; `needed_columns` names
        them.
    group_plan
        How rows are grouped before the mapping; None: they are not. `row_filter_query` is applied before.
    watermark_query
        ``SELECT .. AS watermark, ROW FROM source``: what `sync: watermark` says, of each source row.
    watermark_columns
        Columns to ask of the source for it, besides `needed_columns`.
    contour_queries
        For each of `queries` ``SELECT name, said, area, ROW FROM source``: why the contour that ``s_region`` is made of
        has no region, and its area (deg**2); None where it is made of none.
    contour_columns
        Columns that follow from these contours.
    first_date_columns
        Columns that are made of the time of this run alone, as the descriptor has no ``created:``; they say when a row
        came.
    change_date_columns
        Those of them that say when a row was changed last, by their UCD.
    """

    table: Table
    queries: tuple[BoundQuery, ...]
    row_filter_query: BoundQuery | None = None
    checks: tuple[RowCheck, ...] = ()
    needed_columns: tuple[str, ...] = ()
    read_types: AbstractMapping[str, pa.DataType] = field(default_factory=dict)
    copies: AbstractMapping[str, str] = field(default_factory=dict)
    conversions: AbstractMapping[str, str] = field(default_factory=dict)
    warnings: tuple[Fault, ...] = ()
    lookups: AbstractMapping[str, pa.Table] = field(default_factory=dict)
    calls: tuple[PythonFunctionCall, ...] = ()
    combined_rule_query: BoundQuery | None = None
    column_rules: tuple[ValidationRule, ...] = ()
    vocabularies: AbstractMapping[str, tuple[str, ...]] = field(default_factory=dict)
    flags_column: str | None = None
    observations: tuple[CompiledMapping, ...] = ()
    source: Table
    unrolled_columns: tuple[str, ...] = ()
    group_plan: RowGroupPlan | None = None
    watermark_query: BoundQuery | None = None
    watermark_columns: tuple[str, ...] = ()
    contour_queries: tuple[BoundQuery | None, ...] = ()
    contour_columns: frozenset[str] = frozenset()
    first_date_columns: frozenset[str] = frozenset()
    change_date_columns: frozenset[str] = frozenset()

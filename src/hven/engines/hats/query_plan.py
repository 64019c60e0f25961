"""HatsPlan: a bound query, near or far by what the manifests say has to be read.

Near: row groups are read into memory, and the embedded engine's own plan computes over them, so that its answer is the
embedded engine's. Whole tables go through it row group by row group. Far: a cluster computes; what it does not is
computed here, over rows that it gives (the detour).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql.syntax_tree import (
    ExistsPredicate,
    Literal,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    WindowExpression,
    walk_tree,
)
from hven.engines import MemoryRelation, QueryPlan, Snapshot
from hven.engines._deferred_execution import DeferredExecution
from hven.engines._embedded_fallback import FallbackPlan, require_relation
from hven.engines._query_analysis.geometry import replace_shape_texts
from hven.engines._query_analysis.query_flattening import flatten_query
from hven.engines._query_analysis.union_pushdown import push_into_unions
from hven.engines.hats.engine_protocol import TableSelection
from hven.engines.hats.local_execution import LocalExecution, StreamedLocalExecution, read_if_in_memory
from hven.engines.hats.row_group_tests import LookupContext, RowGroupChooser
from hven.model import plugins
from hven.model.errors import StorageError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.engines.hats.engine_protocol import HatsEngineProtocol

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

MAX_IMMEDIATE_GROUPS = 4  # row groups that are read at once
TOO_LARGE_MESSAGE = "{size} of {tables} would have to be read for this query, and {most} are read here"
NO_CLUSTER_REMEDY = (
    "narrow it by position, key or an indexed column; whoever runs the site may name a cluster (spark) or allow "
    "more (near_bytes) under [hats] in hven.toml"
)
NOT_ON_CLUSTER_REMEDY = (
    "narrow it by position, key or an indexed column; a cluster does not read {}, which is behind an address: "
    "whoever runs the site may copy it into a root of [hats]"
)


class HatsPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`).

    Parameters
    ----------
    is_table_fetch
        It asks for rows of one table for a detour.
    """

    small = False

    def __init__(self, engine: HatsEngineProtocol, bound_query: BoundQuery, *, is_table_fetch: bool = False) -> None:
        self._engine = engine
        self._is_table_fetch = is_table_fetch
        self._bound_query = bound_query
        self._embedded_plan = engine.embedded_engine.plan_query(bound_query)
        self.schema = self._embedded_plan.schema
        # what is in memory is given at once, on an event loop, too: `execute` sees
        self.small = self._embedded_plan.small and len(bound_query.tables) == 1 and not is_table_fetch
        self._group_chooser = RowGroupChooser(replace_shape_texts(flatten_query(push_into_unions(bound_query))))
        unrewritten_chooser = RowGroupChooser(bound_query)
        self._read_columns = {
            table.qualified_name: tuple(
                dict.fromkeys(
                    [
                        *self._group_chooser.list_columns(table.qualified_name),
                        *unrewritten_chooser.list_columns(table.qualified_name),
                    ]
                )
            )
            for table in bound_query.tables
        }
        self._streamable_query = match_streamable_query(bound_query)

    # --- running ---------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run; see `hven.engines.QueryPlan.execute`."""
        if not self.small:
            return self._execute_long(literal_values, relations, limits)
        known_selections: dict[str, TableSelection] = {}  # what was looked up is not looked up again
        memory_execution = self._execute_from_memory(literal_values, relations, limits, known_selections)
        return memory_execution or DeferredExecution(
            self.schema, lambda _: self._execute_long(literal_values, relations, limits, known_selections)
        )

    def _execute_from_memory(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        known_selections: dict[str, TableSelection],
    ) -> QueryExecution | None:
        """Answer out of what is in memory; None: it must be waited for."""
        (table,) = self._bound_query.tables
        name = table.qualified_name
        relation = require_relation(relations, table.qualified_name)
        if isinstance(relation, Snapshot) and self._engine.uses_indexes:
            manifest = self._engine.get_open_manifest(relation)
        else:
            manifest = None
        if manifest is None or not isinstance(relation, Snapshot):
            return None
        context = LookupContext(manifest, None, literal_values, relations)
        if self._group_chooser.find_cells(name, context) is None:
            return None
        selection = self._select_groups(name, relation, context)
        if selection.estimated_bytes > self._engine.near_bytes:
            return None
        known_selections[name] = selection
        rows = read_if_in_memory(self._engine, selection)
        if rows is None:
            return None
        return self._embedded_plan.execute(literal_values, {name: MemoryRelation(rows, is_stored=True)}, limits)

    def _execute_long(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        known_selections: Mapping[str, TableSelection] | None = None,
    ) -> QueryExecution:
        selections = known_selections or self._select_tables(literal_values, relations)
        if self._streamable_query is not None and len(selections) == 1 and self._can_stream(*selections.values()):
            (name,) = selections
            return StreamedLocalExecution(
                self._engine,
                self._embedded_plan,
                name,
                selections[name],
                self._compute_top(literal_values),
                literal_values,
                limits,
            )
        if self._is_cluster_needed(selections):
            return self._execute_on_cluster(selections, literal_values, relations, limits)
        return LocalExecution(self._engine, self._embedded_plan, selections, literal_values, relations, limits)

    def _select_tables(self, literal_values: Values, relations: Mapping[str, Relation]) -> dict[str, TableSelection]:
        """Look up what has to be read of each table that is a catalogue."""
        selections = {}
        for table in self._bound_query.tables:
            name = table.qualified_name
            relation = require_relation(relations, name)
            if isinstance(relation, MemoryRelation):
                continue
            if not isinstance(relation, Snapshot):
                message = f"the engine hats cannot read {relation.kind_name} tables in place"
                raise StorageError(message)
            manifest = self._engine.open_manifest(relation)
            key_index = self._engine.get_key_index(relation)
            context = LookupContext(manifest, key_index, literal_values, relations)
            selections[name] = self._select_groups(name, relation, context)
        return selections

    def _select_groups(self, qualified_name: str, relation: Snapshot, context: LookupContext) -> TableSelection:
        """Look up what has to be read of one table."""
        if self._engine.uses_indexes:
            group_numbers = self._group_chooser.find_groups(qualified_name, context)
        else:
            group_numbers = np.arange(context.manifest.group_count)
        if self._engine.uses_indexes:
            cells = self._group_chooser.find_cells(qualified_name, context)
        else:
            cells = None
        return TableSelection(relation, context.manifest, self._read_columns[qualified_name], group_numbers, cells)

    def _is_cluster_needed(self, selections: Mapping[str, TableSelection]) -> bool:
        return sum(selection.estimated_bytes for selection in selections.values()) > self._engine.near_bytes

    def _can_stream(self, selection: TableSelection) -> bool:
        """Return whether rows are given as they are: no condition leaves any out, or what is read is little anyhow."""
        if (
            len(selection.group_numbers) <= MAX_IMMEDIATE_GROUPS
            and selection.estimated_bytes <= self._engine.near_bytes
        ):
            return False  # at once is quicker
        return not self._streamable_query.has_conditions or selection.estimated_bytes <= self._engine.near_bytes  # type: ignore[union-attr]

    def _compute_top(self, literal_values: Values) -> int | None:
        """Return the number of rows that TOP allows."""
        if self._streamable_query is None:
            top = None
        else:
            top = self._streamable_query.top
        if top is None:
            return None
        if top.slot in self._bound_query.free_slots:
            value = literal_values[top.slot]
        else:
            value = top.value
        return None if value is None else int(value)

    def _execute_on_cluster(
        self,
        selections: Mapping[str, TableSelection],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        if self._engine.spark is None:
            raise build_too_large_error(selections, self._engine.near_bytes)
        local_only = next((selection for selection in selections.values() if selection.is_local_only), None)
        if local_only is not None:
            raise build_too_large_error(selections, self._engine.near_bytes, local_only)
        cluster_plan = self._cluster_plan
        if isinstance(cluster_plan, FallbackPlan):
            return cluster_plan.execute(literal_values, relations, limits)
        files = {
            name: [place for place, _ in selection.manifest.list_files(selection.group_numbers)]
            for name, selection in selections.items()
        }
        leaves = {name: selection.manifest.head.leaves for name, selection in selections.items()}
        memory_relations = {name: relation for name, relation in relations.items() if name not in selections}
        build_fallback = self._plan_without_conditions if self._is_table_fetch else self._build_fallback
        # nothing is planned before it is needed
        run_fallback = lambda why: build_fallback(why).execute(literal_values, relations, limits)  # noqa: E731
        hold_files = partial(
            self._engine.hold_snapshots, [selection.snapshot.path for selection in selections.values()]
        )
        execution: QueryExecution = cluster_plan.execute(
            literal_values, memory_relations, limits, files, run_fallback, hold_files, leaves
        )
        return execution

    @cached_property
    def _cluster_plan(self) -> Any:
        """The plan of the cluster, or the detour over rows that it gives."""
        cluster_module = plugins.import_hven_module(
            "hven.engines.hats.cluster_plan", "the far road"
        )  # Spark's client is an extra

        try:
            return cluster_module.ClusterPlan(self._engine.cluster, self._bound_query)
        except cluster_module.UnsupportedBySparkError as reason:
            if self._is_table_fetch:
                raise
            return self._build_fallback(str(reason))

    def _build_fallback(self, reason: str) -> FallbackPlan:
        """Plan the query over rows that the cluster gives."""
        return FallbackPlan(
            self._engine.embedded_engine,
            self._bound_query,
            reason,
            self._plan_table_fetch,
            source_engine_name="the cluster",
            max_fetched_bytes=self._engine.near_bytes,
        )

    def _plan_without_conditions(self, reason: str) -> HatsPlan:
        """Plan to read without conditions that the cluster, when it was asked, did not know.

        The detour tests them all again.
        """
        query = self._bound_query.query
        if not isinstance(query.body, Select) or query.body.where is None:
            raise StorageError(
                f"the cluster cannot give rows of {self._bound_query.tables[0].qualified_name}: {reason}"
            )
        body = replace(query.body, where=None)
        unconditional_query = replace(self._bound_query, query=replace(query, body=body))
        return HatsPlan(self._engine, unconditional_query, is_table_fetch=True)

    def _plan_table_fetch(self, bound_query: BoundQuery) -> QueryPlan | None:
        """Plan what a detour reads of one table: near, if that is little, else by the cluster."""
        plan = HatsPlan(self._engine, bound_query, is_table_fetch=True)
        unsupported_error = plugins.import_hven_module(
            "hven.engines.hats.cluster_plan", "the far road"
        ).UnsupportedBySparkError
        try:
            _ = plan._cluster_plan  # what the cluster cannot compute is left to the rest
        except unsupported_error:
            return None
        return plan

    # --- words -----------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Describe which road is taken; see `hven.engines.QueryPlan.explain`."""
        lines = [
            (
                f"{_find_reference_name(self._group_chooser.table_refs[number])}: row groups by the manifest, "
                f"{test.describe_test()}"
            )
            for number, test in self._group_chooser.tests_by_number.items()
        ]
        max_local_bytes = self._engine.near_bytes
        if self._streamable_query is not None and not self._streamable_query.has_conditions:
            lines.append("near: rows are streamed, row group by row group")
        elif self._engine.spark is None:
            lines.append(
                f"near, up to {_format_size(max_local_bytes)} of files; more is refused, for there is no cluster"
            )
        else:
            lines.append(f"near, up to {_format_size(max_local_bytes)} of files; else far: by the cluster")
        return "\n".join([*lines, self._embedded_plan.explain()])

    def estimate_row_counts(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Tell near or far, and how many files, row groups and bytes of each table are read."""
        selections = self._select_tables(literal_values, relations)
        streams = self._streamable_query is not None and len(selections) == 1 and self._can_stream(*selections.values())
        # it ends with the last row that TOP allows
        if streams and not self._streamable_query.has_conditions:  # type: ignore[union-attr]
            selections = {
                name: _limit_selection(selection, self._compute_top(literal_values))
                for name, selection in selections.items()
            }
        if streams or not self._is_cluster_needed(selections):
            road = "near"
        elif self._engine.spark and not any(selection.is_local_only for selection in selections.values()):
            road = "far"
        else:
            road = "too much without a cluster"
        lines = [
            f"{name}: {road}: {len(np.unique(selection.manifest.get_array('file')[selection.group_numbers])):,} of {len(selection.manifest.head.files):,} files, "
            f"{len(selection.group_numbers):,} of {selection.manifest.group_count:,} row groups, {_format_size(selection.estimated_bytes)}, about {selection.row_count:,} of {selection.manifest.head.rows:,} rows are read"
            if selection.columns
            else (
                f"{name}: {road}: the manifest knows how many of {selection.manifest.head.rows:,} rows there are, "
                f"none is read"
            )
            for name, selection in selections.items()
        ]
        return [
            *lines,
            *(
                f"{name}: {relation.rows.num_rows:,} rows, in memory"
                for name, relation in relations.items()
                if isinstance(relation, MemoryRelation)
            ),
        ]


@dataclass(frozen=True, slots=True)
class StreamableQuery:
    """A query each of whose rows is made of one row of its table, in no order.

    Attributes
    ----------
    top
        How many rows at most; None: all.
    has_conditions
        Some rows are left out.
    """

    top: Literal | None
    has_conditions: bool


def match_streamable_query(bound_query: BoundQuery) -> StreamableQuery | None:
    """Recognise such a query; None: it is another one."""
    query = bound_query.query
    body = query.body
    if not isinstance(body, Select) or query.order_by or query.offset is not None or query.ctes or bound_query.volatile:
        return None
    if body.group_by or body.having is not None or body.distinct or not isinstance(body.source, TableRef):
        return None
    if any(
        not isinstance(item, SelectItem) or item.expr.meta is None or item.expr.meta.aggregate for item in body.items
    ):
        return None
    if any(isinstance(node, Subquery | WindowExpression | ExistsPredicate) for node in walk_tree(query)):
        return None
    return StreamableQuery(body.top, body.where is not None or body.source.where is not None)


def build_too_large_error(
    selections: Mapping[str, TableSelection], byte_limit: int, local_only: TableSelection | None = None
) -> TooLargeError:
    """Make the error of a query that is for a cluster, where there is none, or which cannot read a table."""
    size = sum(selection.estimated_bytes for selection in selections.values())
    return TooLargeError(
        format_message(TOO_LARGE_MESSAGE, _format_size(size), ", ".join(selections), _format_size(byte_limit)),
        remedy=NO_CLUSTER_REMEDY
        if local_only is None
        else NOT_ON_CLUSTER_REMEDY.format(local_only.manifest.head.foreign),
    )


def _limit_selection(selection: TableSelection, row_limit: int | None) -> TableSelection:
    """Leave the row groups out that come behind so many rows."""
    if row_limit is None:
        return selection
    array = selection.manifest.get_array("rows")
    ends = np.cumsum(array[selection.group_numbers])
    return replace(selection, group_numbers=selection.group_numbers[: int(np.searchsorted(ends, row_limit)) + 1])


def _format_size(byte_count: float) -> str:
    """Write a size as hven.toml does: a MB of `near_bytes` has 1024 kB."""
    if byte_count >= 1 << 30:
        return f"{byte_count / (1 << 30):,.1f} GB"
    if byte_count >= 1 << 17:
        return f"{byte_count / (1 << 20):,.1f} MB"
    return f"{byte_count / (1 << 10):,.1f} kB"


def _find_reference_name(table_ref: TableRef) -> str:
    if table_ref.alias is not None:
        return table_ref.alias.name
    if table_ref.table is not None:
        return table_ref.table.qualified_name
    return ""


__all__ = ["HatsPlan", "TableSelection", "build_too_large_error"]

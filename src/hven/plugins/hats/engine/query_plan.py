"""Plans of queries over HATS catalogues, which are computed here or by a cluster.

The manifests tell how much has to be read. If it is little, row groups are read into memory, and the plan of the
embedded engine computes over them, so that the answer is the same as that of the embedded engine. Whole tables are
streamed row group by row group. Otherwise a cluster computes. What it cannot compute is computed here, over rows that
the cluster fetches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

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
from hven.engines.api.executions import DeferredExecution, EmbeddedFallbackPlan, require_relation
from hven.engines.api.geometry_analysis import unwrap_shape_texts
from hven.engines.api.query_analysis import flatten_query, push_conditions_into_unions
from hven.model.errors import StorageError, TooLargeError, format_message
from hven.plugins.hats.clusters import UnsupportedByClusterError, load_cluster_definitions
from hven.plugins.hats.engine.engine_protocol import TableSelection
from hven.plugins.hats.engine.local_execution import (
    RowGroupExecution,
    StreamedRowGroupExecution,
    read_rows_if_in_memory,
)
from hven.plugins.hats.engine.row_group_filters import RowGroupChooser, RowGroupLookupContext

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.plugins.hats.clusters import ClusterPlan
    from hven.plugins.hats.engine.engine_protocol import HatsEngineProtocol

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

MAX_IMMEDIATE_GROUPS = 4  # row groups that are read together and not streamed
TOO_LARGE_MESSAGE = "this query would have to read {size} of {tables}, but only {most} may be read on this server"
NARROWING_REMEDY = "narrow the query by position, key or an indexed column; the site's operators can "
ALLOWING_REMEDY = "allow more (near_bytes) under [hats] in hven.toml"
NOT_ON_CLUSTER_REMEDY = (
    "narrow the query by position, key or an indexed column; a cluster cannot read {}, which is at a web address, but "
    "the site's operators can copy it into a root of [hats]"
)


class HatsPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`).

    Parameters
    ----------
    engine
        The engine.
    bound_query
        The bound query.
    is_table_fetch
        True if the query only fetches rows of one table for a `EmbeddedFallbackPlan`.
    """

    is_quick = False

    def __init__(self, engine: HatsEngineProtocol, bound_query: BoundQuery, *, is_table_fetch: bool = False) -> None:
        self._engine = engine
        self._is_table_fetch = is_table_fetch
        self._bound_query = bound_query
        self._embedded_plan = engine.embedded_engine.plan_query(bound_query)
        self.schema = self._embedded_plan.schema
        # `execute` answers such a query at once if its rows are in memory, even on an event loop.
        self.is_quick = self._embedded_plan.is_quick and len(bound_query.tables) == 1 and not is_table_fetch
        rewritten_query = unwrap_shape_texts(flatten_query(push_conditions_into_unions(bound_query)))
        self._group_chooser = RowGroupChooser(rewritten_query)
        unrewritten_chooser = RowGroupChooser(bound_query)
        self._read_columns: dict[str, tuple[str, ...]] = {}
        for table in bound_query.tables:
            name = table.qualified_name
            columns = [*self._group_chooser.list_read_columns(name), *unrewritten_chooser.list_read_columns(name)]
            self._read_columns[name] = tuple(dict.fromkeys(columns))
        self._streamable_query = match_streamable_query(bound_query)

    # --- execution -------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query; see `hven.engines.QueryPlan.execute`."""
        if not self.is_quick:
            return self._execute_from_storage(literal_values, relations, limits)
        known_selections: dict[str, TableSelection] = {}  # so that nothing is looked up twice
        memory_execution = self._execute_from_memory(literal_values, relations, limits, known_selections)
        if memory_execution is not None:
            return memory_execution
        return DeferredExecution(
            self.schema, lambda _: self._execute_from_storage(literal_values, relations, limits, known_selections)
        )

    def _execute_from_memory(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        known_selections: dict[str, TableSelection],
    ) -> QueryExecution | None:
        """Answer from memory; return None if the query would have to wait."""
        (table,) = self._bound_query.tables
        name = table.qualified_name
        relation = require_relation(relations, name)
        if not isinstance(relation, Snapshot) or not self._engine.uses_indexes:
            return None
        manifest = self._engine.get_open_manifest(relation)
        if manifest is None:
            return None
        context = RowGroupLookupContext(manifest, None, literal_values, relations)
        if self._group_chooser.find_needed_cells(name, context) is None:
            return None
        selection = self._select_table_row_groups(name, relation, context)
        if selection.estimated_bytes > self._engine.near_bytes:
            return None
        known_selections[name] = selection
        rows = read_rows_if_in_memory(self._engine, selection)
        if rows is None:
            return None
        return self._embedded_plan.execute(literal_values, {name: MemoryRelation(rows, is_stored=True)}, limits)

    def _execute_from_storage(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        known_selections: Mapping[str, TableSelection] | None = None,
    ) -> QueryExecution:
        selections = known_selections or self._select_row_groups_by_table(literal_values, relations)
        if self._streamable_query is not None and len(selections) == 1 and self._can_stream(*selections.values()):
            (name,) = selections
            return StreamedRowGroupExecution(
                self._engine,
                self._embedded_plan,
                name,
                selections[name],
                top=self._compute_top_limit(literal_values),
                literal_values=literal_values,
                limits=limits,
            )
        if self._is_cluster_needed(selections):
            return self._execute_on_cluster(selections, literal_values, relations, limits)
        return RowGroupExecution(
            self._engine, self._embedded_plan, selections, literal_values, relations, limits=limits
        )

    def _select_row_groups_by_table(
        self, literal_values: Values, relations: Mapping[str, Relation]
    ) -> dict[str, TableSelection]:
        """Look up the row groups that have to be read of each catalogue."""
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
            context = RowGroupLookupContext(manifest, key_index, literal_values, relations)
            selections[name] = self._select_table_row_groups(name, relation, context)
        return selections

    def _select_table_row_groups(
        self, qualified_name: str, relation: Snapshot, context: RowGroupLookupContext
    ) -> TableSelection:
        """Look up the row groups that have to be read of one table."""
        if self._engine.uses_indexes:
            group_numbers = self._group_chooser.find_row_groups(qualified_name, context)
            cells = self._group_chooser.find_needed_cells(qualified_name, context)
        else:
            group_numbers = np.arange(context.manifest.group_count)
            cells = None
        return TableSelection(relation, context.manifest, self._read_columns[qualified_name], group_numbers, cells)

    def _is_cluster_needed(self, selections: Mapping[str, TableSelection]) -> bool:
        return sum(selection.estimated_bytes for selection in selections.values()) > self._engine.near_bytes

    def _can_stream(self, selection: TableSelection) -> bool:
        """Return whether the rows are streamed: no condition leaves out rows, or little is read anyway."""
        is_little = selection.estimated_bytes <= self._engine.near_bytes
        if is_little and len(selection.group_numbers) <= MAX_IMMEDIATE_GROUPS:
            return False  # one computation is faster
        has_conditions = self._streamable_query is None or self._streamable_query.has_conditions
        return is_little or not has_conditions

    def _compute_top_limit(self, literal_values: Values) -> int | None:
        """Return the number of rows that TOP allows; None if there is no TOP."""
        if self._streamable_query is None or self._streamable_query.top is None:
            return None
        top = self._streamable_query.top
        if top.slot in self._bound_query.free_slots:
            value = literal_values[top.slot]
        else:
            value = top.value
        if value is None:
            return None
        return int(value)

    def _execute_on_cluster(
        self,
        selections: Mapping[str, TableSelection],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        if not self._engine.has_cluster:
            raise build_cluster_needed_error(selections, self._engine.near_bytes)
        local_only = next((selection for selection in selections.values() if selection.is_unreadable_by_cluster), None)
        if local_only is not None:
            raise build_cluster_needed_error(selections, self._engine.near_bytes, local_only)
        cluster_plan = self._cluster_plan
        if isinstance(cluster_plan, EmbeddedFallbackPlan):
            return cluster_plan.execute(literal_values, relations, limits)
        paths_by_table = {
            name: [path for path, _ in selection.manifest.list_row_group_files(selection.group_numbers)]
            for name, selection in selections.items()
        }
        memory_relations = {name: relation for name, relation in relations.items() if name not in selections}
        build_fallback = self._plan_without_conditions if self._is_table_fetch else self._build_fallback_plan

        def run_fallback(reason: str) -> QueryExecution:
            return build_fallback(reason).execute(literal_values, relations, limits)

        snapshot_paths = [selection.snapshot.path for selection in selections.values()]
        return cluster_plan.execute(
            literal_values,
            memory_relations,
            limits,
            paths_by_table,
            run_fallback=run_fallback,
            hold_files=partial(self._engine.hold_snapshots, snapshot_paths),
            leaf_paths={name: selection.manifest.head.leaves for name, selection in selections.items()},
        )

    @cached_property
    def _cluster_plan(self) -> ClusterPlan | EmbeddedFallbackPlan:
        """The plan for the cluster, or a plan over rows that the cluster fetches."""
        try:
            return self._engine.get_cluster().plan_query(self._bound_query)
        except UnsupportedByClusterError as reason:
            if self._is_table_fetch:
                raise
            return self._build_fallback_plan(str(reason))

    def _build_fallback_plan(self, reason: str) -> EmbeddedFallbackPlan:
        """Plan the query over rows that the cluster fetches."""
        return EmbeddedFallbackPlan(
            self._engine.embedded_engine,
            self._bound_query,
            reason,
            self._plan_fetch_for_fallback,
            source_engine_name="the cluster",
            max_fetched_bytes=self._engine.near_bytes,
        )

    def _plan_without_conditions(self, reason: str) -> HatsPlan:
        """Plan to fetch rows without the conditions that the cluster has refused.

        The fallback tests all conditions again.
        """
        query = self._bound_query.query
        if not isinstance(query.body, Select) or query.body.where is None:
            raise StorageError(
                f"the cluster cannot return the rows of {self._bound_query.tables[0].qualified_name}: {reason}"
            )
        body = replace(query.body, where=None)
        unconditional_query = replace(self._bound_query, query=replace(query, body=body))
        return HatsPlan(self._engine, unconditional_query, is_table_fetch=True)

    def _plan_fetch_for_fallback(self, bound_query: BoundQuery) -> QueryPlan | None:
        """Plan the query that fetches rows of one table for a fallback: here, or by the cluster."""
        plan = HatsPlan(self._engine, bound_query, is_table_fetch=True)
        try:
            _ = plan._cluster_plan  # it is refused if the cluster cannot compute it
        except UnsupportedByClusterError:
            return None
        return plan

    # --- explanation -----------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Describe how the query is computed; see `hven.engines.QueryPlan.explain`."""
        lines = []
        for number, test in self._group_chooser.tests_by_number.items():
            name = _find_reference_name(self._group_chooser.table_refs[number])
            lines.append(f"{name}: row groups by the manifest, {test.describe_filter()}")
        max_size = _format_size(self._engine.near_bytes)
        if self._streamable_query is not None and not self._streamable_query.has_conditions:
            lines.append("near: rows are streamed, row group by row group")
        elif not self._engine.has_cluster:
            lines.append(f"near, up to {max_size} of files; larger queries are rejected, because there is no cluster")
        else:
            lines.append(f"near, up to {max_size} of files; otherwise far: by the cluster")
        return "\n".join([*lines, self._embedded_plan.explain()])

    def describe_row_estimates(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate what is read of each table, and tell whether the query is computed here or by the cluster."""
        selections = self._select_row_groups_by_table(literal_values, relations)
        can_stream = len(selections) == 1 and self._can_stream(*selections.values())
        is_streamed = can_stream and self._streamable_query is not None
        if is_streamed and self._streamable_query is not None and not self._streamable_query.has_conditions:
            # A stream ends with the last row that TOP allows.
            top = self._compute_top_limit(literal_values)
            selections = {name: _limit_row_groups(selection, top) for name, selection in selections.items()}
        if is_streamed or not self._is_cluster_needed(selections):
            place = "near"
        elif self._engine.has_cluster and not any(
            selection.is_unreadable_by_cluster for selection in selections.values()
        ):
            place = "far"
        else:
            place = "too much without a cluster"
        lines = [f"{name}: {place}: {_describe_scan(selection)}" for name, selection in selections.items()]
        for name, relation in relations.items():
            if isinstance(relation, MemoryRelation):
                lines.append(f"{name}: {relation.rows.num_rows:,} rows, in memory")
        return lines


@dataclass(frozen=True, slots=True)
class StreamableQuery:
    """A query that computes each of its rows from one row of its table, in any order.

    Attributes
    ----------
    top
        Maximum number of rows (TOP); None if there is none.
    has_conditions
        True if conditions leave out rows.
    """

    top: Literal | None
    has_conditions: bool


def match_streamable_query(bound_query: BoundQuery) -> StreamableQuery | None:
    """Recognise a query that can be streamed; return None for others."""
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


def build_cluster_needed_error(
    selections: Mapping[str, TableSelection], byte_limit: int, local_only_selection: TableSelection | None = None
) -> TooLargeError:
    """Build the error of a query that needs a cluster, if there is none, or if the cluster cannot read a table."""
    total_bytes = sum(selection.estimated_bytes for selection in selections.values())
    remedy = _build_no_cluster_remedy()
    if local_only_selection is not None:
        remedy = NOT_ON_CLUSTER_REMEDY.format(local_only_selection.manifest.head.foreign)
    return TooLargeError(
        format_message(TOO_LARGE_MESSAGE, _format_size(total_bytes), ", ".join(selections), _format_size(byte_limit)),
        remedy=remedy,
    )


def _build_no_cluster_remedy() -> str:
    """Write what helps where there is no cluster; packages say by which settings one is named."""
    setting_names = [definition.setting for definition in load_cluster_definitions()]
    if not setting_names:
        return f"{NARROWING_REMEDY}{ALLOWING_REMEDY}"
    return f"{NARROWING_REMEDY}name a cluster ({', '.join(setting_names)}) or {ALLOWING_REMEDY}"


def _limit_row_groups(selection: TableSelection, row_limit: int | None) -> TableSelection:
    """Leave out the row groups after this number of rows."""
    if row_limit is None:
        return selection
    row_counts = selection.manifest.get_row_group_column("rows")[selection.group_numbers]
    group_count = int(np.searchsorted(np.cumsum(row_counts), row_limit)) + 1
    return replace(selection, group_numbers=selection.group_numbers[:group_count])


def _describe_scan(selection: TableSelection) -> str:
    """Describe what is read of a table."""
    manifest = selection.manifest
    if not selection.columns:
        return f"the manifest gives the number of rows, out of {manifest.head.rows:,}; no row is read"
    file_count = len(np.unique(manifest.get_row_group_column("file")[selection.group_numbers]))
    return (
        f"{file_count:,} of {len(manifest.head.files):,} files, "
        f"{len(selection.group_numbers):,} of {manifest.group_count:,} row groups, "
        f"{_format_size(selection.estimated_bytes)}, "
        f"about {selection.row_count:,} of {manifest.head.rows:,} rows are read"
    )


def _format_size(byte_count: float) -> str:
    """Write a size as in hven.toml: one MB has 1024 kB."""
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

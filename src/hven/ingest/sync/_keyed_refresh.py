"""Refresh derived tables.

A table stays as it is if its inputs did not change. Otherwise it is computed for the touched keys, or as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._dependencies import list_input_states
from hven.ingest._fingerprints import compute_row_fingerprints
from hven.ingest._key_lookup import find_rows_by_key, replace_nan_with_null, to_nullable_schema
from hven.ingest.sync._key_tracing import KEYS_TABLE, KeyRestrictedQuery, trace_key_to_inputs
from hven.ingest.sync._ledger_comparison import RecomputeNeededError
from hven.ingest.sync._row_differences import match_rows_by_key
from hven.model.sky.api.ragged_arrays import sort_distinct
from hven.model.table import Table
from hven.sources.kind_traits import is_made_by_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines import StorageEngine
    from hven.ingest._staged_site import StagedSite
    from hven.ingest.sync._row_differences import RowDifferences
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.site.store import SnapshotRecord

MAX_EQUIVALENT_INPUT_STATES = 10  # earlier states of the inputs that provenance keeps, for a rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRefreshPlan:
    """The rows to compute of one table: those of some keys.

    Attributes
    ----------
    traced_query
        The query for these keys.
    keys
        All or some columns of the primary key.
    """

    traced_query: KeyRestrictedQuery
    keys: pa.Table

    def build_key_upload(self, target: Table) -> Mapping[str, tuple[Table, pa.Table]]:
        """Return the keys as a table that the query can read."""
        columns = tuple(target.find_column(name) for name in self.keys.column_names)
        table = Table(schema=KEYS_TABLE[0], name=KEYS_TABLE[1], columns=columns)
        return {table.qualified_name: (table, self.keys)}


def check_inputs_and_find_changed(
    spec: TableSpec,
    base_record: SnapshotRecord,
    resource: CollectionSpec,
    staged_site: StagedSite,
    read_tables: set[str],
) -> bool | set[str]:
    """Find the inputs of a table made by queries that changed since it was published.

    Parameters
    ----------
    spec
        The table and its queries.
    base_record
        The record of the published table.
    resource
        The collection of the table.
    staged_site
        The site as it will be after this run.
    read_tables
        Lower-case names of the tables with rows that the queries read.

    Returns
    -------
    bool or set of str
        True: no input changed. False: everything may have changed. Otherwise the names of the changed inputs.
    """
    if not spec.sources or not all(is_made_by_queries(source) for source in spec.sources):
        return False
    provenance = base_record.provenance
    inputs: Mapping[str, str] = provenance.get("inputs", {})
    has_same_inputs = bool(inputs) and read_tables == {name.lower() for name in inputs}
    if not has_same_inputs or provenance.get("hashes") != dict(resource.hashes):
        return False
    current_snapshots = {name: record.id for name, record in staged_site.map_records_after_publication().items()}
    for input_state in list_input_states(base_record):
        if all(current_snapshots.get(name) == snapshot for name, snapshot in input_state.items()):
            return True
    return {name for name, snapshot in inputs.items() if current_snapshots.get(name) != snapshot}


def build_updated_record(base_record: SnapshotRecord, current_provenance: Mapping[str, Any]) -> SnapshotRecord | None:
    """Return the record of an unchanged table with its present provenance: other inputs, or another descriptor.

    None: the provenance is the same.
    """
    changed_keys = {key for key, value in current_provenance.items() if base_record.provenance.get(key) != value}
    if not changed_keys:
        return None
    equivalent_inputs: list[Any] = []
    if changed_keys == {"inputs"}:
        current_inputs = current_provenance["inputs"]
        earlier_inputs = [state for state in list_input_states(base_record) if state and state != current_inputs]
        equivalent_inputs = earlier_inputs[:MAX_EQUIVALENT_INPUT_STATES]
    provenance = {**base_record.provenance, **current_provenance, "alike": equivalent_inputs}
    return replace(base_record, provenance=provenance)


def plan_keyed_refresh(
    spec: TableSpec,
    base_record: SnapshotRecord,
    changed_inputs: set[str],
    changes: Mapping[str, tuple[str, RowDifferences]],
    staged_site: StagedSite,
) -> KeyedRefreshPlan | None:
    """Find the keys that changes of the inputs touch; None: the table must be computed as a whole.

    Parameters
    ----------
    spec
        The table and its query.
    base_record
        The record of the published table.
    changed_inputs
        Names of the inputs that changed.
    changes
        For each changed table, the id of its base snapshot and the differences from it.
    staged_site
        The site as it will be after this run.
    """
    inputs = base_record.provenance["inputs"]
    if any(name not in changes or changes[name][0] != inputs[name] for name in changed_inputs):
        return None
    tables = [record.table for record in staged_site.map_records_after_publication().values()]
    traced_query = trace_key_to_inputs(spec, base_record.table, tables, changed_inputs)
    if traced_query is None:
        return None
    differences = {name: changes[name][1] for name in changed_inputs}
    keys = traced_query.find_touched_keys(base_record.table, differences)
    if keys is None:
        return None
    return KeyedRefreshPlan(traced_query=traced_query, keys=keys)


def compare_keyed_rows(
    engine: StorageEngine,
    base_record: SnapshotRecord,
    refresh_plan: KeyedRefreshPlan,
    computed_batches: Sequence[pa.RecordBatch],
) -> RowDifferences:
    """Compare the rows that were computed for some keys with the published rows of these keys.

    Raises
    ------
    RecomputeNeededError
        Two rows have the same key; only an ingest of all rows can decide between them.
    """
    table = base_record.table
    key_names = refresh_plan.keys.column_names
    computed_rows = pa.Table.from_batches(computed_batches, schema=table.arrow_schema)
    rows = replace_nan_with_null(computed_rows.cast(to_nullable_schema(table.arrow_schema)))
    wanted_hashes, _ = compute_row_fingerprints(refresh_plan.keys.columns, refresh_plan.keys.num_rows)
    row_hashes, _ = compute_row_fingerprints(rows.select(key_names).columns, rows.num_rows)
    rows = rows.filter(pa.array(np.isin(row_hashes, wanted_hashes)))  # the query may give rows of other keys
    row_keys = rows.select(list(table.primary))
    has_null_key = any(column.null_count for column in row_keys.columns)
    row_key_hashes, _ = compute_row_fingerprints(row_keys.columns, rows.num_rows)
    if has_null_key or len(sort_distinct(row_key_hashes)) < rows.num_rows:
        raise RecomputeNeededError("two rows have the same primary key, or a row has no primary key")
    before = find_rows_by_key(engine, table, base_record.snapshot, refresh_plan.keys)
    return match_rows_by_key(before, rows.select(before.column_names), table.primary)

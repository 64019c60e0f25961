"""Refresh derived tables.

A table stays as it is if its inputs did not change. Else it is computed for the keys that a change touches, or anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._dependencies import QUERY_SOURCE_KIND, list_input_states
from hven.ingest._fingerprints import compute_fingerprints
from hven.ingest._key_lookup import find_rows_by_key, replace_nan_with_null, to_nullable_schema
from hven.ingest.sync._key_tracing import KEYS_TABLE, TracedQuery, trace_key
from hven.ingest.sync._ledger_comparison import RecomputeNeededError
from hven.ingest.sync._row_differences import match_rows
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines import StorageEngine
    from hven.ingest._staged_site import StagedSite
    from hven.ingest.sync._row_differences import RowDifferences
    from hven.model.resource import Resource, TableSpec
    from hven.site.store import SnapshotRecord

MAX_EQUIVALENT_INPUT_STATES = 10  # earlier states of the inputs that are remembered, for a rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRefresh:
    """What must be computed of one table: the rows of some keys.

    Attributes
    ----------
    keys
        Columns of the primary key, or some of them.
    """

    traced_query: TracedQuery
    keys: pa.Table

    def build_key_upload(self, target: Table) -> Mapping[str, tuple[Table, pa.Table]]:
        """Return the keys as a table of the query."""
        columns = tuple(target.find_column(name) for name in self.keys.column_names)
        table = Table(schema=KEYS_TABLE[0], name=KEYS_TABLE[1], columns=columns)
        return {table.qualified_name: (table, self.keys)}


def find_changed_inputs(
    spec: TableSpec, base: SnapshotRecord, resource: Resource, trial: StagedSite, reads: set[str]
) -> bool | set[str]:
    """Return whether a table made by queries is as it was.

    Parameters
    ----------
    reads
        Names, in lower case, of the tables with rows that its queries read.

    Returns
    -------
    bool or set of str
        True: it is. Else the inputs that changed; False: everything may have.
    """
    if not spec.sources or any(source.kind != QUERY_SOURCE_KIND for source in spec.sources):
        return False
    provenance = base.provenance
    inputs: Mapping[str, str] = provenance.get("inputs", {})
    if provenance.get("hashes") != dict(resource.hashes) or not inputs or reads != {name.lower() for name in inputs}:
        return False
    current_snapshots = {name: record.id for name, record in trial.list_future_records().items()}
    if any(
        all(current_snapshots.get(name) == snapshot for name, snapshot in input_state.items())
        for input_state in list_input_states(base)
    ):
        return True
    return {name for name, snapshot in inputs.items() if current_snapshots.get(name) != snapshot}


def update_provenance(base: SnapshotRecord, current_provenance: Mapping[str, Any]) -> SnapshotRecord | None:
    """Note that the same rows came out of what is `current_provenance` now: other inputs, another descriptor.

    None: that is known.
    """
    changed_keys = {key for key, value in current_provenance.items() if base.provenance.get(key) != value}
    if not changed_keys:
        return None
    if changed_keys == {"inputs"}:
        equivalent_inputs = [
            input_state
            for input_state in list_input_states(base)
            if input_state and input_state != current_provenance["inputs"]
        ][:MAX_EQUIVALENT_INPUT_STATES]
    else:
        equivalent_inputs = []
    provenance = {**base.provenance, **current_provenance, "alike": equivalent_inputs}
    return replace(base, provenance=provenance)


def plan_keyed_refresh(
    spec: TableSpec,
    base: SnapshotRecord,
    changed: set[str],
    changes: Mapping[str, tuple[str, RowDifferences]],
    trial: StagedSite,
) -> KeyedRefresh | None:
    """Find the keys that changes of the inputs touch; None: compute everything.

    Parameters
    ----------
    changes
        Table -> the snapshot that was changed, and how.
    """
    inputs = base.provenance["inputs"]
    if any(name not in changes or changes[name][0] != inputs[name] for name in changed):
        return None
    tables = [record.table for record in trial.list_future_records().values()]
    traced_query = trace_key(spec, base.table, tables, changed)
    if traced_query is None:
        return None
    keys = traced_query.find_touched_keys(base.table, {name: changes[name][1] for name in changed})
    if keys is None:
        return None
    return KeyedRefresh(traced_query=traced_query, keys=keys)


def compare_keyed_rows(
    keeper: StorageEngine, base: SnapshotRecord, keyed: KeyedRefresh, computed_batches: Sequence[pa.RecordBatch]
) -> RowDifferences:
    """Compare the rows that were computed for some keys with those that are published.

    Raises
    ------
    RecomputeNeededError
        Two rows have one key: an ingest says what is to be done.
    """
    table = base.table
    names = keyed.keys.column_names
    rows = replace_nan_with_null(
        pa.Table.from_batches(computed_batches, schema=table.arrow_schema).cast(to_nullable_schema(table.arrow_schema))
    )
    fingerprints = compute_fingerprints(keyed.keys.columns, keyed.keys.num_rows)
    wanted_hashes = fingerprints[0]
    row_hashes = compute_fingerprints(rows.select(names).columns, rows.num_rows)[0]
    rows = rows.filter(pa.array(np.isin(row_hashes, wanted_hashes)))  # the query may give more
    row_keys = rows.select(list(table.primary))
    if (
        any(column.null_count for column in row_keys.columns)
        or len(np.unique(compute_fingerprints(row_keys.columns, rows.num_rows)[0])) < rows.num_rows
    ):
        raise RecomputeNeededError("two rows have one primary key, or one has none")
    before = find_rows_by_key(keeper, table, base.snapshot, keyed.keys)
    return match_rows(before, rows.select(before.column_names), table.primary)

"""The changed rows of a table between two states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.model.errors import HvenError, NotFoundError
from hven.plugins.changes.change_feeds import find_changes_between

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.site import PublishedState, Site

NUMBER_COLUMN = "hven_number"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChanges:
    """The changed rows of a table between two states.

    Attributes
    ----------
    table
        The table in the later state.
    since, version
        Ids of the two states.
    keys
        The columns of the key, and `NUMBER_COLUMN`.
    existed_before, exists_after
        Masks of the rows in the two states.
    state_before, state_after
        What was published then; None: no longer kept.
    changed_columns
        The changed columns of each row that exists in both states; null: any may have changed.
    """

    table: Table
    since: str
    version: str
    keys: pa.Table
    existed_before: np.ndarray
    exists_after: np.ndarray
    state_before: PublishedState | None
    state_after: PublishedState
    changed_columns: pa.ChunkedArray | None = None


def load_table_changes(site: Site, state_after: PublishedState, table_name: str, since: str) -> TableChanges:
    """Load the changed rows of a table.

    Parameters
    ----------
    site
        The site.
    state_after
        The later state.
    table_name
        The table, which is stored in this state.
    since
        Id of the earlier state of the table.

    Raises
    ------
    NotFoundError
        They are not known any more, or the key has changed.
    """
    published_table = state_after.tables_by_name[table_name]
    table, relation = published_table.table, published_table.relation
    assert isinstance(relation, Snapshot)  # noqa: S101  (it is stored)
    change_set = find_changes_between(site, table_name, since, relation.id)
    if not table.primary or not set(table.primary) <= set(change_set.column_names):
        raise NotFoundError(f"the primary key of {table_name} has changed")
    change_set = change_set.sort_by([(name, "ascending") for name in table.primary])
    kinds = change_set.column(change_sets.CHANGE_COLUMN).cast(pa.string())
    key_schema = pa.schema([pa.field(name, table.find_column(name).type.arrow) for name in table.primary])
    numbers = pa.array(np.arange(change_set.num_rows, dtype=np.int64))
    keys = change_set.select(list(table.primary)).cast(key_schema).append_column(NUMBER_COLUMN, numbers)
    return TableChanges(
        table=table,
        since=since,
        version=relation.id,
        keys=keys.combine_chunks(),
        existed_before=np.asarray(pc.not_equal(kinds, change_sets.ADDED_CHANGE)),
        exists_after=np.asarray(pc.not_equal(kinds, change_sets.REMOVED_CHANGE)),
        state_before=_find_earlier_state(site, table_name, since),
        state_after=state_after,
        changed_columns=change_set.column(change_sets.CHANGED_COLUMNS_COLUMN).cast(pa.list_(pa.string())),
    )


def _find_earlier_state(site: Site, table_name: str, snapshot: str) -> PublishedState | None:
    try:
        published_state = site.find_past_state(snapshot).published_state
    except HvenError:
        return None
    published_table = published_state.tables_by_name.get(table_name)
    relation = None if published_table is None else published_table.relation
    if isinstance(relation, Snapshot) and relation.id == snapshot:
        return published_state
    return None

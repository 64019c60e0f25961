"""Records of snapshots in the comments of their tables and views.

Each snapshot is a relation ``s_..``: a table, or after a merge a view of a table that several snapshots share
(`shared_tables`). Queries treat both in the same way. `SnapshotTableComment`, which is read from the comment of the
relation, has the details.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from hven.engines import Snapshot
    from hven.model.table import Table


@dataclass(frozen=True, slots=True)
class SharedTableState:
    """A state of a shared table, which a snapshot shows.

    Attributes
    ----------
    base_table
        Name of the shared table, without the schema.
    state_number
        Number of the state, from 1.
    """

    base_table: str
    state_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTableComment:
    """The record in the comment of a snapshot's table or view.

    Attributes
    ----------
    columns
        Name -> type, as in the descriptor.
    partition
        Partitioning of the table; None if it has none, or if the record is older than this entry.
    position
        Longitude and latitude; None if there are none, or if the record is older than this entry.
    index_digest
        Digest of the indexes of the shared table; see `shared_tables.compute_index_digest`.
    share
        State of the shared table; None if the snapshot is a table of its own.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None
    position: tuple[str, ...] | None = None
    index_digest: str = ""
    share: SharedTableState | None = None

    @property
    def arrow_types(self) -> dict[str, pa.DataType]:
        """Column -> Arrow type."""
        return {name: parse_type(word).arrow for name, word in self.columns.items()}

    def find_table_name(self, snapshot: Snapshot) -> str:
        """Return the name of the table that has the rows of the snapshot."""
        if self.share is None:
            return snapshot.path
        return self.share.base_table


def write_table_comment(table: Table, *, index_digest: str = "", shared_state: SharedTableState | None = None) -> str:
    """Write the comment: the types of the columns, and under the empty name the other facts."""
    facts: dict[str, object] = {}
    if table.partition is not None:
        facts["partition"] = repr(table.partition)
    if table.position is not None:
        facts["position"] = list(table.position)
    if index_digest:
        facts["made"] = index_digest
    if shared_state is not None:
        facts["base"] = shared_state.base_table
        facts["number"] = shared_state.state_number
    entries: dict[str, object] = {column.name: str(column.type) for column in table.columns}
    if facts:
        entries[""] = facts
    return json.dumps(entries, ensure_ascii=False)


def parse_table_comment(comment: str) -> SnapshotTableComment:
    """Read the record from a comment; older comments have only the partitioning under the empty name."""
    column_types = json.loads(comment)
    facts = column_types.pop("", None)
    if not isinstance(facts, dict):
        return SnapshotTableComment(columns=column_types, partition=facts)
    position = None
    if facts.get("position") is not None:
        position = tuple(facts["position"])
    share = None
    if "base" in facts:
        share = SharedTableState(facts["base"], facts["number"])
    return SnapshotTableComment(
        columns=column_types,
        partition=facts.get("partition"),
        position=position,
        index_digest=facts.get("made", ""),
        share=share,
    )

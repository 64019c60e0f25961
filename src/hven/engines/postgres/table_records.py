"""Where the rows of a relation are in the database, and what the table or view of a snapshot says about itself.

A snapshot is a relation ``s_..`` of its own: a table, or, once it was made by a merge, a view of a table that several
snapshots share (`sharing`). Queries need not know which. Who must, asks `TableRecord`, which is read from the
relation's comment.
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
class SharedState:
    """What of a shared table a snapshot is.

    Attributes
    ----------
    base_table
        The table's name, without the schema.
    state_number
        Of the state: 1 is the first that the table has.
    """

    base_table: str
    state_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """What the comment of a snapshot's relation keeps.

    Attributes
    ----------
    columns
        Name -> type in the descriptor's words.
    partition
        How the table is cut, None if it is whole (or was written before this was kept).
    position
        Longitude and latitude; None if there are none, or it was written before this was kept.
    index_digest
        How the shared table is indexed; see `sharing.digest`.
    share
        None if the snapshot is a table of its own.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None
    position: tuple[str, ...] | None = None
    index_digest: str = ""
    share: SharedState | None = None

    @property
    def arrow_types(self) -> dict[str, pa.DataType]:
        """Column -> Arrow type."""
        return {name: parse_type(word).arrow for name, word in self.columns.items()}

    def find_table_name(self, snapshot: Snapshot) -> str:
        """Name the table in which the rows of the snapshot are."""
        if self.share is None:
            return snapshot.path
        return self.share.base_table


def write_table_comment(table: Table, *, index_digest: str = "", shared_state: SharedState | None = None) -> str:
    """Write the comment: the columns, and under the empty name what is not about single ones."""
    extra_facts = {
        "partition": None if table.partition is None else repr(table.partition),
        "position": None if table.position is None else list(table.position),
        "made": index_digest or None,
        "base": None if shared_state is None else shared_state.base_table,
        "number": None if shared_state is None else shared_state.state_number,
    }
    known_facts = {name: value for name, value in extra_facts.items() if value is not None}
    column_types = {column.name: str(column.type) for column in table.columns}
    return json.dumps({**column_types, **({"": known_facts} if known_facts else {})}, ensure_ascii=False)


def parse_table_comment(comment: str) -> TableRecord:
    """Read it; older ones have nothing but the partition under the empty name."""
    comment_entries = json.loads(comment)
    extra_facts = comment_entries.pop("", None)
    if not isinstance(extra_facts, dict):
        return TableRecord(columns=comment_entries, partition=extra_facts)
    position = extra_facts.get("position")
    partition = extra_facts.get("partition")
    return TableRecord(
        columns=comment_entries,
        partition=partition,
        position=None if position is None else tuple(position),
        index_digest=extra_facts.get("made", ""),
        share=SharedState(extra_facts["base"], extra_facts["number"]) if "base" in extra_facts else None,
    )

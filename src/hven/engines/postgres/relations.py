"""Where the rows of a relation are in the database, and what the table or view of a snapshot says about itself.

A snapshot is a relation ``s_..`` of its own: a table, or, once it was made by a merge, a view of a table that several snapshots share
(`sharing`). Queries need not know which. Who must, asks `Kept`, which is read from the relation's comment.
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
class Share:
    """What of a shared table a snapshot is.

    Attributes
    ----------
    base
        The table's name, without the schema.
    number
        Of the state: 1 is the first that the table has.
    """

    base: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the comment of a snapshot's relation keeps.

    Attributes
    ----------
    columns
        Name -> type in the descriptor's words.
    partition
        How the table is cut, None if it is whole (or was written before this was kept).
    position
        Longitude and latitude; None if there are none, or it was written before this was kept.
    made
        How the shared table is indexed; see `sharing.digest`.
    share
        None if the snapshot is a table of its own.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None
    position: tuple[str, ...] | None = None
    made: str = ""
    share: Share | None = None

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Column -> Arrow type."""
        return {name: parse_type(word).arrow for name, word in self.columns.items()}

    def here(self, snapshot: Snapshot) -> str:
        """Name the table in which the rows of the snapshot are."""
        return snapshot.path if self.share is None else self.share.base


def remembering(table: Table, *, made: str = "", share: Share | None = None) -> str:
    """Write the comment: the columns, and under the empty name what is not about single ones."""
    kept = {
        "partition": None if table.partition is None else repr(table.partition),
        "position": None if table.position is None else list(table.position),
        "made": made or None,
        "base": None if share is None else share.base,
        "number": None if share is None else share.number,
    }
    whole = {name: value for name, value in kept.items() if value is not None}
    said = {column.name: str(column.type) for column in table.columns}
    return json.dumps({**said, **({"": whole} if whole else {})}, ensure_ascii=False)


def remembered(text: str) -> Kept:
    """Read it; older ones have nothing but the partition under the empty name."""
    found = json.loads(text)
    said = found.pop("", None)
    if not isinstance(said, dict):
        return Kept(columns=found, partition=said)
    position = said.get("position")
    return Kept(
        columns=found,
        partition=said.get("partition"),
        position=None if position is None else tuple(position),
        made=said.get("made", ""),
        share=Share(said["base"], said["number"]) if "base" in said else None,
    )

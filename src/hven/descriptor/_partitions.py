"""``partition:`` of a table: what it says, and whether the table's columns allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import nearest
from hven.model.table import MONTHS, SECONDS, Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import Faults, Fields
    from hven.model.errors import Place
    from hven.model.table import Table


def partition(what: str, fields: Fields, names: Sequence[str], closed: bool, faults: Faults) -> Partition | None:
    """Read it; whether column and length fit each other is told by `check_partition`, when the types are known."""
    said = fields.get("partition")
    if said is None or "by" not in said:
        return None
    where = f"{what}.partition"
    column, every = said.get("column"), said.get("every")
    if said["by"] == "healpix":
        for key in ("column", "every"):
            if key in said:
                faults.error(
                    f"{where}: pieces by healpix have no {key!r}", said.places[key], "say order: 1, or by: time"
                )
        return Partition(by="healpix", order=int(said.get("order", 1)))
    if "order" in said:
        faults.error(
            f"{where}: pieces by time have no 'order'", said.places["order"], "say every: 1 month, or by: healpix"
        )
    if column is None:
        faults.error(f"{where} does not say of which column", said.place, "column: the time by which most queries ask")
        return None
    if closed and column not in names:
        faults.error(f"{where}: the table has no column {str(column)!r}", column.place, nearest(column, names))
    made = Partition(by="time", column=str(column), every=None if every is None else str(every))
    if every is not None and made.step is None:
        faults.error(f"{where}: {str(every)!r} is no length of time", every.place, "1 month, 1 year, 10 d, 6 h")
        return None
    return made


def check_partition(what: str, table: Table, place: Place, faults: Faults, *, follow: bool = False) -> None:
    """Check that the table's columns allow its partition; `follow`: they are known only now."""
    said = table.partition
    if said is None:
        return
    where = f"{what}.partition"
    if said.by == "healpix":
        if table.position is None:
            faults.error(
                f"{where}: the table has no position", place, "say position: [longitude, latitude], or cut it by time"
            )
        return
    names = [column.name for column in table.columns]
    if said.column not in names:
        if follow:  # else it is told already
            faults.error(f"{where}: the table has no column {said.column!r}", place, nearest(said.column or "", names))
        return
    column = table.column(said.column or "")
    if column.type.is_timestamp:
        return
    if not column.type.is_numeric or column.unit not in SECONDS:
        found = f"{column.type} in {column.unit}" if column.unit else str(column.type)
        hint = "a timestamp, or a number whose unit is one of: " + ", ".join(SECONDS)
        faults.error(f"{where}: the column {column.name!r} is no time but {found}", place, hint)
    elif said.step is not None and said.step[1] in MONTHS:
        faults.error(
            f"{where}: months and years are not equally long, and {column.name!r} is a number", place, "every: 30 d"
        )


__all__ = ["check_partition", "partition"]

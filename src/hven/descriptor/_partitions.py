"""``partition:`` of a table: what it says, and whether the table's columns allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import suggest_spelling
from hven.model.table import MONTHS_PER_UNIT, SECONDS_PER_UNIT, PartitionScheme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.model.errors import TextPlace
    from hven.model.table import Table


def read_partition(
    key_path: str, fields: LocatedKeyValues, column_names: Sequence[str], has_all_columns: bool, faults: FaultCollector
) -> PartitionScheme | None:
    """Read it; whether column and length fit each other is told by `check_partition`, when the types are known."""
    partition_fields = fields.get("partition")
    if partition_fields is None or "by" not in partition_fields:
        return None
    where = f"{key_path}.partition"
    column = partition_fields.get("column")
    step_text = partition_fields.get("every")
    if partition_fields["by"] == "healpix":
        for key in ("column", "every"):
            if key in partition_fields:
                faults.add_error(
                    f"{where}: partitions by healpix cannot have {key!r}",
                    partition_fields.places[key],
                    "write `order: 1`, or `by: time`",
                )
        order = int(partition_fields.get("order", 1))
        return PartitionScheme(by="healpix", order=order)
    if "order" in partition_fields:
        faults.add_error(
            f"{where}: partitions by time cannot have 'order'",
            partition_fields.places["order"],
            "write `every: 1 month`, or `by: healpix`",
        )
    if column is None:
        faults.add_error(
            f"{where} needs 'column'",
            partition_fields.place,
            "write `column: COLUMN`, where COLUMN is the time column that most queries use",
        )
        return None
    if has_all_columns and column not in column_names:
        faults.add_error(
            f"{where}: the table has no column {str(column)!r}", column.place, suggest_spelling(column, column_names)
        )
    table_partition = PartitionScheme(
        by="time", column=str(column), every=None if step_text is None else str(step_text)
    )
    if step_text is not None and table_partition.partition_length is None:
        faults.add_error(
            f"{where}: {str(step_text)!r} is not a duration", step_text.place, "write 1 month, 1 year, 10 d or 6 h"
        )
        return None
    return table_partition


def check_partition(
    key_path: str, table: Table, place: TextPlace, faults: FaultCollector, *, follows_source: bool = False
) -> None:
    """Check that the table's columns allow its partition; `follows_source`: they are known only now."""
    table_partition = table.partition
    if table_partition is None:
        return
    where = f"{key_path}.partition"
    if table_partition.by == "healpix":
        if table.position is None:
            faults.add_error(
                f"{where}: the table has no position", place, "write `position: [longitude, latitude]`, or `by: time`"
            )
        return
    names = [column.name for column in table.columns]
    if table_partition.column not in names:
        if follows_source:  # else it is told already
            faults.add_error(
                f"{where}: the table has no column {table_partition.column!r}",
                place,
                suggest_spelling(table_partition.column or "", names),
            )
        return
    column = table.find_column(table_partition.column or "")
    if column.type.is_timestamp:
        return
    if not column.type.is_numeric or column.unit not in SECONDS_PER_UNIT:
        if column.unit:
            column_description = f"{column.type} in {column.unit}"
        else:
            column_description = str(column.type)
        hint = "choose a timestamp, or a number whose unit is one of: " + ", ".join(SECONDS_PER_UNIT)
        faults.add_error(f"{where}: the column {column.name!r} must be a time, not {column_description}", place, hint)
    elif table_partition.partition_length is not None and table_partition.partition_length[1] in MONTHS_PER_UNIT:
        faults.add_error(
            f"{where}: {column.name!r} is a number, so 'every' needs a constant length, not months or years",
            place,
            "write `every: 30 d`",
        )

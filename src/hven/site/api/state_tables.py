"""Tables of the system state that belong to the core, for packages that copy the state or write users' tables."""

from __future__ import annotations

from hven.site.store._database import (
    OLDEST_FORMAT,
    OLDEST_FORMAT_KEY,
    STATE_FORMAT,
    StateDatabase,
    is_format_usable,
    metadata,
    read_meta_value,
    read_shared_clock,
)
from hven.site.store._deletion_time import compute_trusted_clock_state, format_timestamp
from hven.site.store._package_tables import (
    are_package_tables_usable,
    find_package_of_table,
    format_package_tables,
    has_rows,
    list_package_tables,
    list_package_tables_with_rows,
)
from hven.site.store._releases import PIN_LABEL_PREFIX
from hven.site.store._snapshots import snapshot_record_from_row, snapshot_record_to_row
from hven.site.store._user_table_records import (
    retired_snapshot_from_row,
    schedule_table_deletion,
    user_table_record_from_row,
)

__all__ = [
    "OLDEST_FORMAT",
    "OLDEST_FORMAT_KEY",
    "PIN_LABEL_PREFIX",
    "STATE_FORMAT",
    "StateDatabase",
    "are_package_tables_usable",
    "compute_trusted_clock_state",
    "find_package_of_table",
    "format_package_tables",
    "format_timestamp",
    "has_rows",
    "is_format_usable",
    "list_package_tables",
    "list_package_tables_with_rows",
    "metadata",
    "read_meta_value",
    "read_shared_clock",
    "retired_snapshot_from_row",
    "schedule_table_deletion",
    "snapshot_record_from_row",
    "snapshot_record_to_row",
    "user_table_record_from_row",
]

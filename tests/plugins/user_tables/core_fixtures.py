"""What tests of the core use of users' tables."""

from __future__ import annotations

from hven.plugins.user_tables import table_writing

USER_TABLES = {
    "store": table_writing.store_user_table,
    "find": table_writing.find_user_table,
    "delete": table_writing.delete_user_table,
}

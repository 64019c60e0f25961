"""Run ``hven`` as a newer version would: its system state has a later format, which only adds a column."""

from __future__ import annotations

import sys

import sqlalchemy as sa

from hven.app import main
from hven.site.store import _database


def add_column(connection: sa.Connection) -> None:
    """Upgrade to the later format."""
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN note TEXT")


if __name__ == "__main__":
    _database.UPGRADE_STEPS[_database.STATE_FORMAT] = add_column
    _database.STATE_FORMAT += 1
    sys.exit(main())

"""Run ``hven`` as a newer version would: its system state has a later format, which only adds a column.

With HVEN_TEST_CONTRACT in the environment, older versions cannot use the later format.
"""

from __future__ import annotations

import os
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
    if os.environ.get("HVEN_TEST_CONTRACT"):
        _database.OLDEST_FORMAT = _database.STATE_FORMAT
    sys.exit(main())

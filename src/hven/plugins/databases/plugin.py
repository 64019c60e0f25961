"""What this package adds: the kind of source ``sql``."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="databases",
    title="Copy rows of relational databases: SQLite, PostgreSQL, MariaDB, MySQL, ODBC, SQLAlchemy",
    sources={"sql": "hven.plugins.databases.source"},
    files=(FileSignature(kind="sql", extensions=("sqlite", "sqlite3", "db")),),
)

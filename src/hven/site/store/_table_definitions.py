"""Define tables of the system state: those of the core, and those of plug-in packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COLUMN_TYPES = {"text": sa.Text, "int": sa.Integer, "big": sa.BigInteger, "float": sa.Float}


class PackageTableSet:
    """The tables of a plug-in package, as `hven.model.plugins.PackageStateTables` names them.

    Parameters
    ----------
    upgrade_steps
        Version of the tables -> the function that makes the next version from it, in the transaction that it gets.

    Attributes
    ----------
    metadata
        The tables.
    """

    def __init__(self, upgrade_steps: Mapping[int, Callable[[sa.Connection], None]] | None = None) -> None:
        self.metadata = sa.MetaData()
        self.upgrade_steps = dict(upgrade_steps or {})

    def define_table(self, name: str, columns: str, *indexes: sa.Index) -> sa.Table:
        """Define a table.

        Parameters
        ----------
        name
            Name, which no other table of the system state has.
        columns
            One column a line: its name, its type (``text``, ``int``, ``big``, ``float``) and its options (``key``,
            ``null``, ``unique``, ``index``, ``default VALUE``, ``-> table.column``). A column without the option
            ``null`` must have a value. ``--`` begins a comment.
        indexes
            Indexes over several columns.

        Returns
        -------
        table
            The table, for queries.
        """
        return define_table(self.metadata, name, columns, *indexes)


def define_table(metadata: sa.MetaData, name: str, columns: str, *indexes: sa.Index) -> sa.Table:
    """Define a table from a text with one column a line: see `PackageTableSet.define_table`."""
    table_columns = [_define_column(line) for line in columns.strip().splitlines()]
    return sa.Table(name, metadata, *table_columns, *indexes)


def _define_column(line: str) -> sa.Column[Any]:
    definition = line.partition("--")[0]
    name, type_name, *options = definition.split()
    foreign_keys = []
    if "->" in options:
        foreign_keys.append(sa.ForeignKey(options[-1]))
    server_default = None
    if "default" in options:
        server_default = sa.text(options[-1])
    is_key = "key" in options
    return sa.Column(
        name,
        COLUMN_TYPES[type_name],
        *foreign_keys,
        primary_key=is_key,
        nullable="null" in options,
        unique="unique" in options or None,
        index="index" in options or None,
        server_default=server_default,
        autoincrement=is_key and type_name == "int",
    )

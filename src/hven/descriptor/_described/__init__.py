"""What others say of their tables - schemas, configurations, ReadMes, collections - as first descriptors: a file for each kind of description, found by its name.

A kind says in ``DESCRIPTION`` how its documents are told from others, and in ``read`` what they say of which tables; how that is written stands here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor._guesses import Guess, describe_guesses, guess_columns, identifier, is_reserved, quoted
from hven.descriptor._position_guesses import (
    convert_positions,
    describe_body_position,
    find_body_position,
    find_sky_position,
)
from hven.descriptor._yaml_text import comment, flow, folded, scalar
from hven.model.errors import SourceError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from hven.model.table import Column
    from hven.sources import Context

HEAD = 256 << 10  # bytes that are looked at to know a description
LONGEST = 32 << 20  # bytes of one that is read
MOST = 500  # tables of one descriptor
NAMED = 12  # tables that a message lists


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionKind:
    """How descriptions of a kind are told from other documents.

    Attributes
    ----------
    begins
        A regular expression that is searched for in the first `HEAD` bytes; empty: nothing tells them.
    address
        One for whole addresses of services that describe their tables; these are meant where several tables are asked for (``--table 'schema.*'``).
    """

    begins: bytes = b""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a description is read from.

    Attributes
    ----------
    name
        Of the collection to be.
    path, address
        Of the document; one of them.
    table
        What the curator chose: a name, or a pattern with ``*``; None: all.
    shown
        Writes a path as the descriptor will name it.
    context
        Opens sources.
    """

    name: str
    path: Path = Path()
    address: str = ""
    table: str | None = None
    shown: Callable[[Path], str] = str
    context: Context

    def text(self) -> bytes:
        """Read the document.

        Raises
        ------
        SourceError
            It cannot be read, or is too long.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(LONGEST + 1)
        except OSError as error:
            raise SourceError(
                f"{self.path.name} cannot be read: {error.strerror}", remedy="look at its permissions"
            ) from error
        if len(data) > LONGEST:
            raise SourceError(
                f"{self.path.name} has more than {LONGEST >> 20} MiB: it is no description of tables",
                remedy="say --kind if it holds data",
            )
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A foreign key: names of columns here and in the table `target`."""

    target: str
    columns: Sequence[str]
    target_columns: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSaid:
    """What a description says of a table.

    Attributes
    ----------
    source
        As it will stand in the descriptor.
    columns
        By their names in the source.
    names
        What columns shall be called, where it is not after their names in the source.
    primary, keys, indexes
        By their names in the source, too.
    constants
        Columns that are not in the source, with their one value.
    notes
        For the curator.
    """

    name: str
    source: Mapping[str, Any]
    columns: Sequence[Column]
    title: str | None = None
    description: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    primary: Sequence[str] = ()
    keys: Mapping[str, Relation] = field(default_factory=dict)
    indexes: Sequence[Sequence[str]] = ()
    constants: Sequence[tuple[Column, str]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a description says. `about`: keys of the collection, as descriptors have them."""

    kind: str
    tables: Sequence[TableSaid]
    title: str | None = None
    description: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def of_file(given: Given) -> Description | None:
    """Read a file if it is a description of some kind; None: it is none.

    Raises
    ------
    SourceError
        It is one, and has faults, or describes what is not there.
    UsageError
        It has no table of the name that was chosen.
    """
    module = _recognise(given.path)
    return None if module is None else _chosen(module.read(given), given)


def is_description(path: Path) -> bool:
    """Check whether a file is a description of some kind.

    Parameters
    ----------
    path
        Of the file.
    """
    return _recognise(path) is not None


def _recognise(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    patterns = ((module, module.DESCRIPTION.begins) for module in _modules())
    return next((module for module, pattern in patterns if pattern and re.search(pattern, head)), None)


def of_address(given: Given) -> Description | None:
    """Ask a service for what it says of several tables; None: none of them is known, or one table is meant.

    Raises
    ------
    SourceError
        It does not answer.
    UsageError
        It has no such tables.
    """
    if "*" not in (given.table or ""):
        return None
    for module in _modules():
        if module.DESCRIPTION.address and re.fullmatch(module.DESCRIPTION.address, given.address, re.IGNORECASE):
            found: Description = module.read(given)
            return found
    return None


def _modules() -> list[ModuleType]:
    found = (one.name for one in pkgutil.iter_modules(__path__) if not one.name.startswith("_"))
    return [importlib.import_module(f"{__name__}.{name}") for name in found]


def _chosen(said: Description, given: Given) -> Description:
    """Keep the table that was asked for."""
    tables = said.tables
    if given.table is not None:
        tables = [one for one in tables if matches(given.table, one.name)]
        if not tables:
            there = [one.name for one in said.tables]
            raise UsageError(
                f"the {said.kind} describes no table {given.table}",
                remedy=nearest(given.table, there) or f"it has {', '.join(there[:NAMED])}",
            )
    if not tables:
        raise SourceError(f"the {said.kind} describes no table", remedy="look at the file")
    if len(tables) > MOST:
        raise UsageError(
            f"the {said.kind} describes {len(tables):,} tables, and a collection takes {MOST} at once",
            remedy="say which with --table 'NAME*'",
        )
    return replace(said, tables=tables)


def matches(pattern: str, name: str) -> bool:
    """Check a name against what was chosen; ``*`` stands for anything, and case does not matter."""
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), name, re.IGNORECASE) is not None


# --- writing ---------------------------------------------------------------------------------------------------------


def written(name: str, origin: str, said: Description) -> str:
    """Write the descriptor of a collection with all its tables."""
    names = _names(said.tables)
    guesses = {one.name: _guessed(one) for one in said.tables}
    first = next(iter(names.values()))
    lines = [
        f"# A first descriptor, from the {said.kind} {comment(origin)}. Look it over and change what is wrong;",
        f"# `hven check {name}` tells every fault, `hven ingest {name}` publishes {name}.{first}{' and the others' if len(names) > 1 else ''}.",
        f"collection: {scalar(name)}",
        f"title: {scalar(said.title or name.replace('_', ' ').capitalize())}"
        + ("" if said.title else "  # one line for people"),
        *(
            folded("description", said.description)
            if said.description
            else ["# description: some sentences - what, from where, how good"]
        ),
        *(f"{key}: {flow(value)}" for key, value in said.about.items()),
        *(f"# {comment(note)}" for note in said.notes),
        "tables:",
    ]
    for one in said.tables:
        lines += _table(one, names, guesses)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _guessed(one: TableSaid) -> list[Guess]:
    """Name columns, and guess units and UCDs where nothing is said."""
    found = guess_columns(one.columns, {}, complete=False, narrow=False)
    taken = {item.column.name for item in found}
    for at, item in enumerate(found):
        name = identifier(one.names.get(item.source, item.source))
        if item.source in one.names and name != item.column.name and name not in taken:
            taken.add(name)
            label = one.names[item.source] if is_reserved(one.names[item.source]) else None
            found[at] = replace(item, column=item.column.having(name=name, label=label), expression=item.expression or quoted(item.source))  # fmt: skip
    return found + convert_positions(found)


def _names(tables: Sequence[TableSaid]) -> dict[str, str]:
    """Name tables as the collection does: regular, and none twice."""
    found: dict[str, str] = {}
    for one in tables:
        plain = made = identifier(one.name, "table")
        number = 2
        while made in found.values():
            made, number = f"{plain}_{number}", number + 1
        found[one.name] = made
    return found


def _table(one: TableSaid, names: Mapping[str, str], guesses: Mapping[str, Sequence[Guess]]) -> list[str]:
    mine = guesses[one.name]
    called = {item.source: item.column.name for item in mine if item.source}
    lines = [f"  {scalar(names[one.name])}:"]
    if one.title:
        lines.append(f"    title: {scalar(one.title)}")
    if one.description:
        lines += [f"    {line}" for line in folded("description", one.description)]
    lines += [f"    # {comment(note)}" for note in one.notes]
    bare = sum(1 for item in mine if not item.column.description)
    if bare > len(mine) / 2:
        lines.append(f"    # {bare} of {len(mine)} columns have no description: readers look for it first")
    primary = [called[name] for name in one.primary if name in called]
    if primary and len(primary) == len(one.primary):
        lines.append(f"    primary: {flow(primary)}")
    keys, lost = _keys(one, names, guesses)
    lines += [f"    # {comment(text)}" for text in lost]
    if keys:
        lines += ["    keys:", *(f"      {scalar(name)}: {flow(key)}" for name, key in keys.items())]
    several = [
        [called[name] for name in group] for group in one.indexes if len(group) > 1 and set(group) <= set(called)
    ]
    if several:
        lines.append(f"    indexes: {flow(several)}")
    alone = {group[0] for group in one.indexes if len(group) == 1}
    if pair := find_sky_position(mine):
        lines.append(
            f"    position: [{scalar(pair[0])}, {scalar(pair[1])}]  # guessed: degrees; searches by position use it"
        )
    elif pair := find_body_position(mine):
        lines.append(f"    # {comment(describe_body_position(pair))}")
    lines.append("    source: " + flow(dict(one.source)))
    lines.append("    columns:")
    constants = [Guess(source="", column=_named_constant(column)) for column, _ in one.constants]
    width = min(max(len(scalar(item.column.name)) for item in (*mine, *constants)), 28)
    lines += [_column(item, width, indexed=item.source in alone) for item in (*mine, *constants)]
    mapped = [(item.column.name, item.expression) for item in mine if item.expression]
    if mapped:
        lines.append("    map:  # source columns that are called otherwise")
        lines += [f"      {scalar(name)}:".ljust(width + 7) + " " + scalar(text) for name, text in mapped]
    if one.constants:
        lines.append("    set:")
        lines += [f"      {scalar(identifier(column.name))}: {scalar(value)}" for column, value in one.constants]
    return lines


def _named_constant(column: Column) -> Column:
    label = column.name if is_reserved(column.name) else column.label
    return column.having(name=identifier(column.name), label=label)


def _column(item: Guess, width: int, *, indexed: bool) -> str:
    column = item.column
    said: dict[str, Any] = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)
    }
    said |= {
        key: value
        for key in ("label", "unit", "ucd", "utype", "description", "display")
        if (value := getattr(column, key))
    }
    said |= {key: True for key in ("required", "std") if getattr(column, key)}
    said |= {"indexed": True} if indexed or column.indexed else {}
    said |= {"rank": column.rank} if column.rank != 10 else {}
    line = f"      {scalar(column.name)}:".ljust(width + 7) + " " + flow(said)
    said_of = describe_guesses(item)
    return line + (f"  # {comment(said_of)}" if said_of else "")


def _keys(
    one: TableSaid, names: Mapping[str, str], guesses: Mapping[str, Sequence[Guess]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write foreign keys to tables of this collection, and note the others."""
    found: dict[str, dict[str, Any]] = {}
    lost: list[str] = []
    for name, key in one.keys.items():
        here = {item.source: item.column.name for item in guesses[one.name]}
        there = {item.source: item.column.name for item in guesses.get(key.target, ())}
        if key.target in names and set(key.columns) <= set(here) and set(key.target_columns) <= set(there):
            found[identifier(name, "key")] = {
                "columns": [here[column] for column in key.columns],
                "target": names[key.target],
                "target_columns": [there[column] for column in key.target_columns],
            }
        else:
            lost.append(
                f"{', '.join(key.columns)} leads to {', '.join(key.target_columns)} of {key.target}, which is not described here"
            )
    return found, lost

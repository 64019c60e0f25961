"""TAP_SCHEMA of a service: several of its tables as one collection, with the keys between them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hven.descriptor._described import MOST, Description, DescriptionKind, Given, Relation, TableSaid, matches
from hven.model import plugins
from hven.model.errors import HvenError, SourceError, UsageError
from hven.model.table import Column
from hven.model.types import Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DESCRIPTION = DescriptionKind(
    address=r"https?://[^?#]*/tap(?:/(?:sync|async|tables|capabilities))?/?"
)  # as the source's own
TABLES = "SELECT table_name, description, utype FROM TAP_SCHEMA.tables"
COLUMNS = "SELECT table_name, column_name, description, unit, ucd, utype, datatype, {size}, principal, indexed, std FROM TAP_SCHEMA.columns"
KEYS = "SELECT k.key_id, k.from_table, k.target_table, c.from_column, c.target_column FROM TAP_SCHEMA.keys AS k JOIN TAP_SCHEMA.key_columns AS c ON k.key_id = c.key_id"
MAIN = "meta.id;meta.main"
OLD = {"BOOLEAN": "bool", "SMALLINT": "int16", "INTEGER": "int32", "BIGINT": "int64", "REAL": "float32", "DOUBLE": "float64", "TIMESTAMP": "timestamp", "CHAR": "string", "VARCHAR": "string", "CLOB": "string", "POINT": "point", "REGION": "region"}  # TAP 1.0  # fmt: skip


def read(given: Given) -> Description:
    """Ask for the tables whose names match, with their columns and keys.

    Raises
    ------
    SourceError
        It is no TAP service, or does not answer.
    UsageError
        No name matches, or too many.
    """
    url = re.sub(r"/(?:sync|async|tables|capabilities)?/?$", "", given.address)
    wanted = [row for row in _rows(given, url, TABLES) if matches(given.table or "*", _plain(row["table_name"]))]
    wanted = [row for row in wanted if _plain(row["table_name"]).lower().partition(".")[0] not in {"tap_schema", "tap_upload"}]  # fmt: skip
    if not wanted or len(wanted) > MOST:
        raise UsageError(
            f"{len(wanted):,} tables of {url} are called {given.table}"
            if wanted
            else f"no table of {url} is called {given.table}",
            remedy=f"a collection takes {MOST} at once"
            if wanted
            else "its tables are listed where --table is left out",
        )
    try:
        rows = list(_rows(given, url, COLUMNS.format(size="arraysize, xtype")))
    except SourceError:  # TAP 1.0
        rows = list(_rows(given, url, COLUMNS.format(size='"size" AS arraysize, utype AS xtype')))
    columns: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        columns.setdefault(_plain(row["table_name"]), []).append(row)
    keys: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    try:
        for row in _rows(given, url, KEYS):
            of = keys.setdefault(_plain(row["from_table"]), {}).setdefault(str(row["key_id"]).strip(), [])
            of.append((_plain(row["target_table"]), _plain(row["from_column"]), _plain(row["target_column"])))
    except HvenError:  # not every service has them
        keys = {}
    tables = [_table(row, url, columns.get(_plain(row["table_name"]), []), keys) for row in wanted]
    tables = [one for one in tables if one.columns]
    if not tables:
        raise SourceError(f"{url} does not say which columns its tables have", remedy="choose one table, whose answer tells")  # fmt: skip
    return Description(kind="TAP service", tables=tables, about={"reference_url": url})


def _rows(given: Given, url: str, adql: str) -> Iterator[Mapping[str, Any]]:
    tap: Any = plugins.load("sources", "tap")
    source = tap.open(tap.Options(url=url, adql=adql), given.context)
    for batch in source.batches():
        for row in batch.to_pylist():
            yield {str(name).lower(): value for name, value in row.items()}


def _plain(text: object) -> str:
    """Write a name without the quotes that a query needs."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', str(text or "").strip())
    return ".".join((quoted.replace('""', '"') or plain) for quoted, plain in parts)


def _table(row: Mapping[str, Any], url: str, columns: list[Mapping[str, Any]], keys: Mapping[str, Any]) -> TableSaid:  # fmt: skip
    name = _plain(row["table_name"])
    found = [_column(one) for one in columns]
    mains = [column.name for column in found if (column.ucd or "").lower().startswith(MAIN) and column.indexed]
    relations: dict[str, Relation] = {}
    for key, pairs in keys.get(name, {}).items():
        target, here, there = pairs[0][0], [one[1] for one in pairs], [one[2] for one in pairs]
        relations[f"key_{key}" if key[:1].isdigit() else key] = Relation(
            target=_short(target) if target.partition(".")[0] == name.partition(".")[0] else target,
            columns=here,
            target_columns=there,
        )
    leads = {tuple(one[2] for one in pairs) for said in keys.values() for pairs in said.values() if pairs[0][0] == name}
    return TableSaid(
        name=_short(name),
        source={"kind": "tap", "url": url, "table": str(row["table_name"]).strip(), **({"key": mains[0]} if mains else {})},
        columns=found,
        description=(row["description"] or "").strip() or None,
        primary=leads.pop() if len(leads) == 1 else (),  # what others lead to names a row
        keys=relations,
        notes=[] if mains else ["no key is known by which its rows could be asked for page by page: say `key` if it is large"],
    )  # fmt: skip


def _short(name: str) -> str:
    return name.partition(".")[2] or name


def _column(row: Mapping[str, Any]) -> Column:
    said = {word: text.strip() or None for word in ("description", "unit", "ucd", "utype") if isinstance(text := row[word], str)}  # fmt: skip
    return Column(
        name=_plain(row["column_name"]) if '"' in str(row["column_name"]) else str(row["column_name"]).strip(),
        type=_type(*(str(row[word] or "").strip() for word in ("datatype", "arraysize", "xtype"))),
        indexed=str(row["indexed"]) in {"1", "True"},
        std=str(row["std"]) in {"1", "True"},
        rank=15 if str(row["principal"]) in {"0", "False"} else 10,
        **said,  # type: ignore[arg-type]
    )


def _type(word: str, size: str, xtype: str) -> Type:
    """Read a type as TAP 1.1 has it (VOTable's), or 1.0 (``adql:VARCHAR``)."""
    with suppress(ValueError):
        if xtype:
            return parse_type(xtype)
    old = OLD.get(word.upper().removeprefix("ADQL:").partition("(")[0])
    if old is not None:
        return parse_type(old)
    kind = word.lower()
    if kind in {"char", "unicodechar"}:
        return parse_type("string")
    names = {"short": "int16", "int": "int32", "long": "int64", "float": "float32", "double": "float64", "boolean": "bool", "unsignedbyte": "uint8"}  # fmt: skip
    plain = names.get(kind, "string")
    many = plain != "string" and size not in {"", "1"}
    return parse_type(f"{plain}[{size if size.isdigit() else '*'}]" if many else plain)

"""The provider ``local``: a table of this site (setting ``resolver.table``).

Its columns are found by UCD, then by name. All spellings of all names are sorted once per snapshot, so that a look-up
is a binary search; the rows stay in Arrow. For every user it reads the public rows only, so that it never reveals the
position of a private row.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import Ident, build_table_query
from hven.engines import LiveRelation
from hven.model import units
from hven.model.errors import TooLargeError, UserError, format_message
from hven.plugins.resolvers.name_index import NameIndex, build_name_index, read_public_rows, split_aliases
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.query.resolver import NameProvider, NameRequest, ResolvedName
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table

MAX_NAME_TABLE_ROWS = 3_000_000  # each process keeps the names in memory
ALIAS_CONFIDENCE = 0.9

# Role -> beginnings of UCDs, and names of columns.
COLUMN_ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "name": (("meta.id;meta.main",), ("main_id", "name", "object", "object_name", "target_name", "target")),
    "aliases": ((), ("aliases", "alias", "alt_target_name", "other_names", "ids", "identifiers")),
    "ra": (("pos.eq.ra;meta.main",), ("ra", "s_ra", "ra_deg", "raj2000")),
    "dec": (("pos.eq.dec;meta.main",), ("dec", "s_dec", "dec_deg", "dej2000")),
    "pmra": (("pos.pm;pos.eq.ra",), ("pmra", "pm_ra")),
    "pmdec": (("pos.pm;pos.eq.dec",), ("pmdec", "pmde", "pm_dec")),
    "epoch": (("time.epoch",), ("epoch", "ref_epoch")),
    "kind": (("src.class", "meta.code.class;src"), ("otype", "object_type", "kind", "class", "target_class")),
}


@dataclass(frozen=True, slots=True)
class _TableNameIndex:
    """The index of the names of one snapshot."""

    version_key: tuple[str | None, str]
    names: NameIndex
    updated: datetime | None
    frame: str
    epoch: float | None


class _NameIndexHolder:
    """The holder of the latest index of a site."""

    def __init__(self) -> None:
        self.latest_index: _TableNameIndex | None = None
        self.lock = threading.Lock()


def find_objects_in_name_table(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name.

    Raises
    ------
    UserError
        There is no such public table, or it has no names or positions.
    """
    index = _get_current_name_index(request)
    age = 0.0
    if index.updated is not None:
        age = max(0.0, (datetime.now(UTC) - index.updated).total_seconds())
    source = f"table {get_resolver_settings(request.site.settings).table}"
    rows = index.names.find_rows(request.name_key)
    return [_build_resolved_name(index, row, is_main_name, source, age) for row, is_main_name in rows]


def _build_resolved_name(
    index: _TableNameIndex, row_number: int, is_main_name: bool, source: str, age: float
) -> ResolvedName:
    def read_value(role: str) -> Any:
        return index.names.read_value(role, row_number)

    aliases = index.names.list_aliases(row_number)
    name = read_value("name")
    if not name:
        name = aliases[0] if aliases else ""
    epoch = read_value("epoch")
    kind = read_value("kind")
    position = _build_coordinate_pair(read_value("ra"), read_value("dec"))
    return ResolvedName(
        name=name,
        position=position,
        frame=index.frame,
        epoch=index.epoch if epoch is None else float(epoch),
        proper_motion=_build_coordinate_pair(read_value("pmra"), read_value("pmdec")),
        ids=aliases,
        kind=None if kind is None else str(kind),
        confidence=1.0 if is_main_name else ALIAS_CONFIDENCE,
        source=source,
        age=age,
        note="the table has no position for this object" if position is None else "",
    )


def _build_coordinate_pair(longitude: Any, latitude: Any) -> tuple[float, float] | None:
    """Return two values as numbers; None if one of them is missing."""
    if longitude is None or latitude is None:
        return None
    return float(longitude), float(latitude)


# --- the index -----------------------------------------------------------------------------------------------


def _get_current_name_index(request: NameRequest) -> _TableNameIndex:
    published_state = request.site.get_published_state()
    name = get_resolver_settings(request.site.settings).table or ""
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    version: str | None = None
    updated_text = ""
    for qualified_name, published_table in published_state.tables_by_name.items():
        if qualified_name.lower() == name.lower():
            version = published_table.run_id
            updated_text = published_table.updated
            if published_table.relation is None:  # a view changes with other tables
                version = published_state.version
            break
    version_key = (version, access_key)
    holder = request.site.get_or_create(_NameIndexHolder)
    with holder.lock:
        if holder.latest_index is None or holder.latest_index.version_key != version_key:
            holder.latest_index = _build_name_index(request, name, version_key, updated_text)
        return holder.latest_index


def _build_name_index(
    request: NameRequest, name: str, version_key: tuple[str | None, str], updated_text: str
) -> _TableNameIndex:
    published_state = request.site.get_published_state()
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, request.policies)
    schema, _, table_name = name.partition(".")
    candidates = catalogue.find_tables_by_identifiers((Ident(schema), Ident(table_name)))
    if not candidates:
        raise UserError(
            format_message("resolver.table is set to {name}, but there is no public table with this name", name),
            remedy="publish the table, or change resolver.table in hven.toml",
        )
    table = candidates[0]
    published_table = published_state.tables_by_name.get(table.qualified_name)
    if published_table is not None and isinstance(published_table.relation, LiveRelation):
        message = format_message(
            "resolver.table is set to {name}, but Hven reads this table in place; only an ingested table can resolve "
            "object names",
            name,
        )
        raise UserError(
            message, remedy="copy the table (`source: {kind: sql, ..}`), and set resolver.table to the copy"
        )
    roles, alias_columns = _find_role_columns(table)
    frame_and_epoch = _require_icrs_frame(table, roles["ra"])
    columns = [*roles.values(), *(column for column in alias_columns if column not in roles.values())]
    rows = read_public_rows(request, build_table_query(table, [column.name for column in columns]), MAX_NAME_TABLE_ROWS)
    if rows.num_rows > MAX_NAME_TABLE_ROWS:
        raise TooLargeError(
            format_message(
                "{name} has too many rows for a table of object names; the limit is {most:,} rows",
                name,
                MAX_NAME_TABLE_ROWS,
            ),
            remedy="set resolver.table to a smaller table",
        )
    column_names = [column.name for column in columns]
    values_by_column = dict(zip(column_names, rows.columns, strict=True))
    columns_by_role = {
        role: _convert_role_column(role, column, values_by_column[column.name]) for role, column in roles.items()
    }
    alias_lists = [split_aliases(values_by_column[column.name], column) for column in alias_columns]
    updated = None
    if updated_text:
        updated = datetime.fromisoformat(updated_text).astimezone(UTC)
    names = build_name_index(columns_by_role, alias_lists)
    return _TableNameIndex(version_key, names, updated, *frame_and_epoch)


def _find_role_columns(table: Table) -> tuple[dict[str, Column], list[Column]]:
    """Find the columns by UCD, then by name; every further text column with a ``meta.id`` has aliases."""
    roles: dict[str, Column] = {}
    for role in COLUMN_ROLES:
        role_column = _find_role_column(table, role)
        if role_column is not None:
            roles[role] = role_column
    if table.position is not None:
        for role, name in zip(("ra", "dec"), table.position, strict=True):
            roles[role] = table.find_column(name)
    alias_columns = []
    if "aliases" in roles:
        alias_columns.append(roles.pop("aliases"))
    id_columns = [
        column for column in table.columns if column.type.is_string and (column.ucd or "").lower().startswith("meta.id")
    ]
    if "name" not in roles and id_columns:
        roles["name"] = id_columns[0]
    for column in id_columns:
        if column not in alias_columns and column is not roles.get("name"):
            alias_columns.append(column)
    missing_roles = [role for role in ("name", "ra", "dec") if role not in roles]
    if missing_roles:
        raise UserError(
            format_message(
                "{table} cannot resolve names: it has no column for {roles}",
                table.qualified_name,
                " and ".join(map(repr, missing_roles)),
            ),
            remedy="give the table's columns the UCDs meta.id;meta.main, pos.eq.ra;meta.main and pos.eq.dec;meta.main",
        )
    return roles, alias_columns


def _find_role_column(table: Table, role: str) -> Column | None:
    """Return the column of a role: the first one with a fitting UCD, otherwise with a fitting name."""
    ucd_beginnings, names = COLUMN_ROLES[role]
    candidates = [column for column in table.columns if (column.ucd or "").lower().startswith(ucd_beginnings)]
    for name in names:
        candidates += [column for column in table.columns if column.name.lower() == name]
    return next((column for column in candidates if _has_fitting_type(role, column)), None)


def _has_fitting_type(role: str, column: Column) -> bool:
    if role in {"name", "aliases"}:
        return column.type.is_string
    return role == "kind" or column.type.is_numeric


def _require_icrs_frame(table: Table, column: Column) -> tuple[str, float | None]:
    """Check that positions are ICRS, because others would silently be wrong; return the frame and its epoch."""
    frame = next((item for item in table.frames if item.id == column.frame), None)
    system = None if frame is None else frame.system
    if system is not None and system.upper() not in {"ICRS", "ICRF"}:
        raise UserError(
            format_message("{table} cannot resolve names: its positions are in {system}", table.qualified_name, system),
            remedy="use a table with ICRS positions",
        )
    if frame is None or frame.epoch is None:
        return "ICRS", None
    epoch_text = frame.epoch.upper().removeprefix("J")
    if not re.fullmatch(r"[0-9]{4}(\.[0-9]+)?", epoch_text):
        return "ICRS", None
    return "ICRS", float(epoch_text)


def _convert_role_column(role: str, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    target_unit = {"ra": "deg", "dec": "deg", "pmra": "mas/yr", "pmdec": "mas/yr"}.get(role)
    if target_unit is None:
        if role == "epoch":
            return values.cast(pa.float64())
        return values.cast(pa.string())
    numbers = values.cast(pa.float64())
    if column.unit in {None, target_unit}:
        return numbers
    try:
        factor = units.compute_unit_factor(column.unit, target_unit)
        return pc.multiply(numbers, factor)
    except ValueError as error:
        raise UserError(
            format_message(
                "the column {name!r} cannot be converted to {wanted}: {message}", column.name, target_unit, error
            ),
            remedy="correct the unit of the column",
        ) from error


PROVIDER = NameProvider(
    name="local",
    order=10,
    offered=lambda settings: get_resolver_settings(settings).table is not None,
    place=lambda settings: format_message("the table {table}", get_resolver_settings(settings).table),
    remedy="set resolver.table in hven.toml to a table of objects",
    find=find_objects_in_name_table,
    name_table=lambda settings: get_resolver_settings(settings).table,
)

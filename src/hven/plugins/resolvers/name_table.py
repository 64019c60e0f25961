"""The provider ``local``: a table of this site (setting ``resolver.table``).

Its columns are found by UCD, then by name. All spellings of all names are sorted once per snapshot, so that a look-up
is a binary search; the rows stay in Arrow. For every user it reads the public rows only, so that it never reveals the
position of a private row.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql
from hven.adql.syntax_tree import Ident, build_table_query
from hven.engines import ExecutionLimits, LiveRelation
from hven.model import units
from hven.model.deadlines import Deadline
from hven.model.errors import ServiceError, TooLargeError, UserError, format_message
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.query.resolver import NameProvider, NameRequest, ResolvedName, normalize_object_names
from hven.site.auth import ANONYMOUS_PRINCIPAL, apply_access_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table

MAX_NAME_TABLE_ROWS = 2_000_000  # each process keeps the names in memory
READ_TIMEOUT_SECONDS = 60.0
ALIAS_SEPARATOR_PATTERN = "[#|;]"  # between the names in one text
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
class _NameIndex:
    """The index of the names of one snapshot.

    `name_rows` has the keys of names in their order, the row of each key, and whether it is the main name.
    """

    version_key: tuple[str | None, str]
    table: pa.Table
    name_rows: pa.Table
    updated: datetime | None
    frame: str
    epoch: float | None


class _NameIndexHolder:
    """The holder of the latest index of a site."""

    def __init__(self) -> None:
        self.latest_index: _NameIndex | None = None
        self.lock = threading.Lock()


def find_objects_in_name_table(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name.

    Raises
    ------
    UserError
        There is no such public table, or it has no names or positions.
    """
    index = _get_current_name_index(request)
    keys = index.name_rows["key"]

    def read_key(position: int) -> str:
        return str(keys[position].as_py())

    start = bisect_left(range(len(keys)), request.name_key, key=read_key)
    end = bisect_right(range(len(keys)), request.name_key, lo=start, key=read_key)
    matches = index.name_rows.slice(start, end - start).group_by("row").aggregate([("own", "any")])
    age = 0.0
    if index.updated is not None:
        age = max(0.0, (datetime.now(UTC) - index.updated).total_seconds())
    source = f"table {get_resolver_settings(request.site.settings).table}"
    return [_build_resolved_name(index, match["row"], match["own_any"], source, age) for match in matches.to_pylist()]


def _build_resolved_name(
    index: _NameIndex, row_number: int, is_main_name: bool, source: str, age: float
) -> ResolvedName:
    def read_value(role: str) -> Any:
        if role in index.table.column_names:
            return index.table[role][row_number].as_py()
        return None

    aliases = [alias for alias in (read_value("aliases") or ()) if alias]
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
        ids=tuple(dict.fromkeys(aliases)),
        kind=None if kind is None else str(kind),
        confidence=1.0 if is_main_name else ALIAS_CONFIDENCE,
        source=source,
        age=age,
        note="the table gives it no position" if position is None else "",
    )


def _build_coordinate_pair(longitude: Any, latitude: Any) -> tuple[float, float] | None:
    """Return two values as numbers; None if one of them is missing."""
    if longitude is None or latitude is None:
        return None
    return float(longitude), float(latitude)


# --- the index -----------------------------------------------------------------------------------------------


def _get_current_name_index(request: NameRequest) -> _NameIndex:
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
) -> _NameIndex:
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
            message, remedy="copy the table (`source: {kind: sql, ..}`), and name the copy in resolver.table"
        )
    roles, alias_columns = _find_role_columns(table)
    frame_and_epoch = _require_icrs_frame(table, roles["ra"])
    columns = [*roles.values(), *(column for column in alias_columns if column not in roles.values())]
    rows = _read_public_rows(request, table, [column.name for column in columns])
    if rows.num_rows > MAX_NAME_TABLE_ROWS:
        raise TooLargeError(
            format_message(
                "{name} has too many rows for a table of object names; the limit is {most:,} rows",
                name,
                MAX_NAME_TABLE_ROWS,
            ),
            remedy="name a smaller table in resolver.table",
        )
    column_names = [column.name for column in columns]
    values_by_column = dict(zip(column_names, rows.columns, strict=True))
    columns_by_role = {
        role: _convert_role_column(role, column, values_by_column[column.name]) for role, column in roles.items()
    }
    alias_lists = [_split_aliases(values_by_column[column.name], column) for column in alias_columns]
    return _build_sorted_index(columns_by_role, alias_lists, version_key, updated_text, frame_and_epoch)


def _read_public_rows(request: NameRequest, table: Table, column_names: Sequence[str]) -> pa.Table:
    """Read columns of the public rows of a table, one more than `MAX_NAME_TABLE_ROWS` at most."""
    published_state = request.site.get_published_state()
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, request.policies)
    bound_query = adql.bind_query(build_table_query(table, list(column_names)), catalogue)
    permitted_query, _ = apply_access_control(bound_query, ANONYMOUS_PRINCIPAL, request.policies)
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    relations = {
        read_table.qualified_name: published_state.find_relation(read_table, access_key)
        for read_table in permitted_query.tables
    }
    limits = ExecutionLimits(row_limit=MAX_NAME_TABLE_ROWS, deadline=Deadline(READ_TIMEOUT_SECONDS))
    execution = request.site.embedded_engine.plan_query(permitted_query).execute((), relations, limits)
    try:
        batches = list(execution)
    finally:
        execution.close()
    return pa.Table.from_batches(batches, schema=execution.schema)


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


def _split_aliases(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Return lists of names, from lists or from texts with several names."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    if not column.type.is_string:
        raise ServiceError(format_message("the column {name!r} contains no names", column.name))
    return pc.split_pattern_regex(values.cast(pa.string()), ALIAS_SEPARATOR_PATTERN).cast(pa.list_(pa.string()))


def _build_sorted_index(
    columns_by_role: dict[str, pa.ChunkedArray],
    alias_lists: list[pa.ChunkedArray],
    version_key: tuple[str | None, str],
    updated_text: str,
    frame_and_epoch: tuple[str, float | None],
) -> _NameIndex:
    names = columns_by_role["name"]
    key_tables = [_build_key_rows(names, np.arange(len(names)), is_main_name=True)]
    combined_lists = [alias_list.combine_chunks() for alias_list in alias_lists]
    for combined_list in combined_lists:
        row_numbers = pc.list_parent_indices(combined_list)
        key_tables.append(_build_key_rows(pc.list_flatten(combined_list), row_numbers, is_main_name=False))
    name_rows = pa.concat_tables(key_tables)
    has_key = pc.and_kleene(pc.is_valid(name_rows["key"]), pc.not_equal(name_rows["key"], ""))
    name_rows = name_rows.filter(has_key).sort_by([("key", "ascending"), ("row", "ascending")]).combine_chunks()
    if combined_lists:
        columns_by_role["aliases"] = pa.chunked_array([_concat_alias_lists(combined_lists)])
    frame, epoch = frame_and_epoch
    updated = None
    if updated_text:
        updated = datetime.fromisoformat(updated_text).astimezone(UTC)
    return _NameIndex(
        version_key=version_key,
        table=pa.table(columns_by_role),
        name_rows=name_rows,
        updated=updated,
        frame=frame,
        epoch=epoch,
    )


def _build_key_rows(names: Any, row_numbers: Any, *, is_main_name: bool) -> pa.Table:
    """Build the rows of some names: their keys, and the rows that have them."""
    columns = {
        "key": normalize_object_names(names),
        "row": pa.array(row_numbers).cast(pa.int64()),
        "own": np.full(len(names), is_main_name),
    }
    return pa.table(columns)


def _concat_alias_lists(lists: list[pa.Array]) -> pa.Array:
    """Join several lists of names per row into one, without blanks at the ends of names."""
    row_count = len(lists[0])
    row_numbers = pa.concat_arrays([pc.list_parent_indices(item).cast(pa.int64()) for item in lists])
    names = pc.utf8_trim_whitespace(pa.concat_arrays([pc.list_flatten(item) for item in lists]))
    order = pc.sort_indices(pa.table({"row": row_numbers}), sort_keys=[("row", "ascending")])
    list_sizes = np.bincount(row_numbers.to_numpy(zero_copy_only=False), minlength=row_count)
    offsets = np.concatenate([[0], np.cumsum(list_sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(order))


PROVIDER = NameProvider(
    name="local",
    order=10,
    offered=lambda settings: get_resolver_settings(settings).table is not None,
    place=lambda settings: format_message("the table {table}", get_resolver_settings(settings).table),
    remedy="set resolver.table in hven.toml to a table of objects",
    find=find_objects_in_name_table,
    name_table=lambda settings: get_resolver_settings(settings).table,
)

"""The provider ``local``: a table of this site (setting ``resolver.table``).

Its columns are found by UCD, then by name.

All spellings of all names are sorted once per snapshot, so that a look-up is a binary search; the rows themselves stay
in Arrow. It reads what everybody may see, whoever asks: a private row gives no position away.
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
from hven.query.resolver._contract import NameProvider, NameRequest, ResolvedName, normalize_names
from hven.site.auth import ANONYMOUS_PRINCIPAL, apply_access_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.model.table import Column, Table

MAX_NAME_TABLE_ROWS = 2_000_000  # rows of the table: each process holds their names
READ_TIMEOUT_SECONDS = 60.0  # to read them
ALIAS_SEPARATOR_PATTERN = "[#|;]"  # between the names in one text
ALIAS_CONFIDENCE = 0.9  # how sure an alias is

# role -> UCDs (a column has it if its UCD begins so), names
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
    """The names of one snapshot: `keys` sorted, `row_numbers` the row of each, `is_main_name` whether it is the row's main name."""

    version_key: tuple[str | None, str]
    table: pa.Table
    keys: pa.StringArray
    row_numbers: pa.Array
    is_main_name: pa.Array
    updated: datetime | None
    frame: str
    epoch: float | None


class _NameIndexHolder:
    """The index of a site's table, as it was last."""

    def __init__(self) -> None:
        self.latest_index: _NameIndex | None = None
        self.lock = threading.Lock()


def find_objects(request: NameRequest) -> Sequence[ResolvedName]:
    """Look the name up.

    Raises
    ------
    UserError
        There is no such table that everybody may see, or it has no names or positions.
    """
    index = _get_current_index(request)
    start, end = (search(_SortedKeys(index.keys), request.name_key) for search in (bisect_left, bisect_right))
    is_main_by_row: dict[int, bool] = {}
    for position in range(start, end):
        row = int(index.row_numbers[position].as_py())
        is_main_by_row[row] = is_main_by_row.get(row, False) or bool(index.is_main_name[position].as_py())
    if index.updated is None:
        age = 0.0
    else:
        age = max(0.0, (datetime.now(UTC) - index.updated).total_seconds())
    source = f"table {request.site.settings.resolver.table}"
    return [_build_resolved(index, row, is_main_name, source, age) for row, is_main_name in is_main_by_row.items()]


class _SortedKeys:
    """Sorted Arrow strings as bisect wants them."""

    def __init__(self, keys: pa.StringArray) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> str:
        return str(self._keys[index].as_py())


def _build_resolved(index: _NameIndex, row_number: int, is_main_name: bool, source: str, age: float) -> ResolvedName:
    def read_value(role: str) -> Any:
        if role in index.table.column_names:
            return index.table[role][row_number].as_py()
        return None

    ra, dec, pmra, pmdec, epoch = (read_value(role) for role in ("ra", "dec", "pmra", "pmdec", "epoch"))
    aliases = [item for item in (read_value("aliases") or ()) if item]
    kind = read_value("kind")
    return ResolvedName(
        name=read_value("name") or (aliases[0] if aliases else ""),
        position=None if ra is None or dec is None else (float(ra), float(dec)),
        frame=index.frame,
        epoch=index.epoch if epoch is None else float(epoch),
        proper_motion=None if pmra is None or pmdec is None else (float(pmra), float(pmdec)),
        ids=tuple(dict.fromkeys(aliases)),
        kind=None if kind is None else str(kind),
        confidence=1.0 if is_main_name else ALIAS_CONFIDENCE,
        source=source,
        age=age,
        note="" if ra is not None and dec is not None else "the table gives it no position",
    )


# --- the index -----------------------------------------------------------------------------------------------


def _get_current_index(request: NameRequest) -> _NameIndex:
    site = request.site
    published_state = site.get_published_state()
    name = site.settings.resolver.table or ""
    item = next((item for key, item in published_state.tables_by_name.items() if key.lower() == name.lower()), None)
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    version_key = (
        item.run_id if item is not None else None,
        access_key,
    )
    if item is not None and item.relation is None:  # a view follows other tables
        version_key = (published_state.version, version_key[1])
    indexes = site.get_or_create(_NameIndexHolder)
    with indexes.lock:
        if indexes.latest_index is None or indexes.latest_index.version_key != version_key:
            indexes.latest_index = _build_index(request, name, version_key, item.updated if item is not None else "")
        return indexes.latest_index


def _build_index(request: NameRequest, name: str, version_key: tuple[str | None, str], updated_text: str) -> _NameIndex:
    published_state = request.site.get_published_state()
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, request.policies)
    schema, _, short = name.partition(".")
    candidates = catalogue.find((Ident(schema), Ident(short)))
    if not candidates:
        raise UserError(
            format_message("there is no public table {name}, which resolver.table names", name),
            remedy="publish it, or change resolver.table in hven.toml",
        )
    table = candidates[0]
    published = published_state.tables_by_name.get(table.qualified_name)
    if published is not None and isinstance(published.relation, LiveRelation):
        message = format_message(
            "{name}, which resolver.table names, is read in place: names need a table that is ingested", name
        )
        raise UserError(message, remedy="copy it (source: {kind: sql, ..}), and name the copy in resolver.table")
    roles, aliases = _find_role_columns(table)
    frame, epoch = _check_frame(table, roles["ra"])
    columns = [*roles.values(), *(column for column in aliases if column not in roles.values())]
    table_query = build_table_query(table, [column.name for column in columns])
    bound, _ = apply_access_control(
        adql.bind_query(table_query, catalogue),
        ANONYMOUS_PRINCIPAL,
        request.policies,
    )
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    relations = {item.qualified_name: published_state.find_relation(item, access_key) for item in bound.tables}
    execution = request.site.embedded_engine.plan_query(bound).execute(
        (), relations, ExecutionLimits(row_limit=MAX_NAME_TABLE_ROWS, deadline=Deadline(READ_TIMEOUT_SECONDS))
    )
    try:
        batches = list(execution)
    finally:
        execution.close()
    rows = pa.Table.from_batches(batches, schema=execution.schema)
    if rows.num_rows > MAX_NAME_TABLE_ROWS:
        raise TooLargeError(
            format_message(
                "{name} has more than {most:,} rows; a table of names may have so many", name, MAX_NAME_TABLE_ROWS
            ),
            remedy="name a smaller one in resolver.table",
        )
    values_by_column = dict(zip((column.name for column in columns), rows.columns, strict=True))
    columns_by_role = {
        role: _convert_values(role, column, values_by_column[column.name]) for role, column in roles.items()
    }
    alias_lists = [_split_names(values_by_column[column.name], column) for column in aliases]
    return _sort_names(columns_by_role, alias_lists, version_key, updated_text, (frame, epoch))


def _find_role_columns(table: Table) -> tuple[dict[str, Column], list[Column]]:
    """Find the columns: by UCD, then by name; every further column with a ``meta.id`` has aliases."""
    roles: dict[str, Column] = {}
    for role, (ucds, names) in COLUMN_ROLES.items():
        by_ucd = [column for column in table.columns if any((column.ucd or "").lower().startswith(ucd) for ucd in ucds)]
        by_name = [column for name in names for column in table.columns if column.name.lower() == name]
        role_column = next((column for column in (*by_ucd, *by_name) if _has_fitting_type(role, column)), None)
        if role_column is not None:
            roles[role] = role_column
    if table.position is not None:
        for role, name in zip(("ra", "dec"), table.position, strict=True):
            roles[role] = next(column for column in table.columns if column.name == name)
    if "aliases" in roles:
        aliases = [roles.pop("aliases")]
    else:
        aliases = []
    texts = [
        column for column in table.columns if column.type.is_string and (column.ucd or "").lower().startswith("meta.id")
    ]
    if "name" not in roles and texts:
        roles["name"] = texts[0]
    aliases += [column for column in texts if column not in aliases and column is not roles.get("name")]
    missing = [role for role in ("name", "ra", "dec") if role not in roles]
    if missing:
        raise UserError(
            format_message(
                "{table} cannot resolve names: it has no column for {roles}",
                table.qualified_name,
                " and ".join(missing),
            ),
            remedy="give its columns the UCDs meta.id;meta.main, pos.eq.ra;meta.main and pos.eq.dec;meta.main",
        )
    return roles, aliases


def _has_fitting_type(role: str, column: Column) -> bool:
    if role in {"name", "aliases"}:
        return column.type.is_string
    return role == "kind" or column.type.is_numeric


def _check_frame(table: Table, column: Column) -> tuple[str, float | None]:
    """Check that it is ICRS, and read its epoch: a position that means something else would be wrong without a word."""
    frame = next((item for item in table.frames if item.id == column.frame), None)
    system = None if frame is None else frame.system
    if system is None or system.upper() in {"ICRS", "ICRF"}:
        epoch = ((frame.epoch if frame is not None else None) or "").upper().removeprefix("J")
        return "ICRS", float(epoch) if re.fullmatch(r"[0-9]{4}(\.[0-9]+)?", epoch) else None
    raise UserError(
        format_message("{table} cannot resolve names: its positions are {system}", table.qualified_name, system),
        remedy="give it ICRS positions",
    )


def _convert_values(role: str, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    target_unit = {"ra": "deg", "dec": "deg", "pmra": "mas/yr", "pmdec": "mas/yr"}.get(role)
    if target_unit is None:
        if role == "epoch":
            return values.cast(pa.float64())
        return values.cast(pa.string())
    numbers = values.cast(pa.float64())
    if column.unit in {None, target_unit}:
        return numbers
    try:
        factor = units.compute_factor(column.unit, target_unit)
        return pc.multiply(numbers, factor)
    except ValueError as error:
        raise UserError(
            format_message(
                "the column {name} cannot be turned into {wanted}: {message}", column.name, target_unit, error
            ),
            remedy="correct its unit",
        ) from error


def _split_names(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Return lists of names, of texts with several of them or of lists."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    if not column.type.is_string:
        raise ServiceError(format_message("the column {name} has no names", column.name))
    return pc.split_pattern_regex(values.cast(pa.string()), ALIAS_SEPARATOR_PATTERN).cast(pa.list_(pa.string()))


def _sort_names(
    columns_by_role: dict[str, pa.ChunkedArray],
    alias_lists: list[pa.ChunkedArray],
    version_key: tuple[str | None, str],
    updated_text: str,
    frame_and_epoch: tuple[str, float | None],
) -> _NameIndex:
    count = len(columns_by_role["name"])
    key_parts = [normalize_names(columns_by_role["name"])]
    rows = [pa.array(np.arange(count))]
    main_name_flags = [pa.array(np.ones(count, bool))]
    joined: list[pa.Array] = []
    for lists in alias_lists:
        combined_list = lists.combine_chunks()
        parents = pc.list_parent_indices(combined_list).cast(pa.int64())
        values = pc.list_flatten(combined_list)
        key_parts.append(normalize_names(values))
        rows.append(parents)
        main_name_flags.append(pa.array(np.zeros(len(values), bool)))
        joined.append(combined_list)
    name_rows = pa.table(
        {
            "key": pa.chunked_array([item for part in key_parts for item in _list_chunks(part)]),
            "row": pa.chunked_array(rows),
            "own": pa.chunked_array(main_name_flags),
        }
    )
    name_rows = name_rows.filter(pc.and_kleene(pc.is_valid(name_rows["key"]), pc.not_equal(name_rows["key"], "")))
    name_rows = name_rows.sort_by([("key", "ascending"), ("row", "ascending")]).combine_chunks()
    if joined:
        columns_by_role["aliases"] = pa.chunked_array([_concat_lists(joined)])
    table = pa.table(columns_by_role)
    keys = _combine_chunks(name_rows["key"])
    row_numbers = _combine_chunks(name_rows["row"])
    return _NameIndex(
        version_key=version_key,
        table=table,
        keys=keys,
        row_numbers=row_numbers,
        is_main_name=_combine_chunks(name_rows["own"]),
        updated=datetime.fromisoformat(updated_text).astimezone(UTC) if updated_text else None,
        frame=frame_and_epoch[0],
        epoch=frame_and_epoch[1],
    )


def _list_chunks(values: Any) -> list[pa.Array]:
    if isinstance(values, pa.ChunkedArray):
        return list(values.chunks)
    return [values]


def _combine_chunks(values: Any) -> Any:
    combined = values.combine_chunks()
    if isinstance(combined, pa.ChunkedArray) and combined.num_chunks:
        return combined.chunk(0)
    return combined


def _concat_lists(lists: list[pa.Array]) -> pa.Array:
    """Join several lists of names per row into one, with blanks at their ends removed."""
    count = len(lists[0])
    parents = pa.concat_arrays([pc.list_parent_indices(item).cast(pa.int64()) for item in lists])
    values = pc.utf8_trim_whitespace(pa.concat_arrays([pc.list_flatten(item) for item in lists]))
    order = pc.sort_indices(pa.table({"p": parents}), sort_keys=[("p", "ascending")])
    sizes = pc.value_counts(parents)
    offsets = np.zeros(count + 1, np.int32)
    np.add.at(
        offsets,
        sizes.field("values").to_numpy(zero_copy_only=False) + 1,
        sizes.field("counts").to_numpy(zero_copy_only=False),
    )
    return pa.ListArray.from_arrays(pa.array(np.cumsum(offsets, dtype=np.int32)), values.take(order))


def _is_offered(settings: Settings) -> bool:
    return settings.resolver.table is not None


def _describe_place(settings: Settings) -> str:
    return format_message("the table {table}", settings.resolver.table)


PROVIDER = NameProvider(
    name="local",
    order=10,
    offered=_is_offered,
    place=_describe_place,
    remedy="name a table of objects: resolver.table in hven.toml",
    find=find_objects,
)

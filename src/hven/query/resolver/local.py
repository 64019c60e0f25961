"""The provider ``local``: a table of this site (setting ``resolver.table``); its columns are found by UCD, then by name.

All spellings of all names are sorted once per snapshot, so that a look-up is a binary search; the rows themselves stay in
Arrow. It reads what everybody may see, whoever asks: a private row gives no position away.
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
from hven.adql.tree import Ident, select
from hven.engines import Limits, Live
from hven.model import units
from hven.model.clock import Clock
from hven.model.errors import ServiceError, TooLarge, UserError, say
from hven.query.resolver._contract import Asked, Provider, Resolved, keys
from hven.site.auth import ANONYMOUS, permit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.model.table import Column, Table

MOST = 2_000_000  # rows of the table: each process holds their names
SECONDS = 60.0  # to read them
SEPARATORS = "[#|;]"  # between the names in one text
ALIAS = 0.9  # how sure an alias is

# role -> UCDs (a column has it if its UCD begins so), names
ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
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
class _Index:
    """The names of one snapshot: `keys` sorted, `rows` the row of each, `own` whether it is the row's main name."""

    stamp: tuple[str | None, str]
    table: pa.Table
    keys: pa.StringArray
    rows: pa.Array
    own: pa.Array
    updated: datetime | None
    frame: str
    epoch: float | None


class _Indexes:
    """The index of a site's table, as it was last."""

    def __init__(self) -> None:
        self.last: _Index | None = None
        self.lock = threading.Lock()


def find(asked: Asked) -> Sequence[Resolved]:
    """Look the name up.

    Raises
    ------
    UserError
        There is no such table that everybody may see, or it has no names or positions.
    """
    index = _index(asked)
    low, high = (search(_Keys(index.keys), asked.key) for search in (bisect_left, bisect_right))
    found: dict[int, bool] = {}
    for at in range(low, high):
        row = int(index.rows[at].as_py())
        found[row] = found.get(row, False) or bool(index.own[at].as_py())
    age = 0.0 if index.updated is None else max(0.0, (datetime.now(UTC) - index.updated).total_seconds())
    source = f"table {asked.site.settings.resolver.table}"
    return [_resolved(index, row, own, source, age) for row, own in found.items()]


class _Keys:
    """Sorted Arrow strings as bisect wants them."""

    def __init__(self, keys: pa.StringArray) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, at: int) -> str:
        return str(self._keys[at].as_py())


def _resolved(index: _Index, row: int, own: bool, source: str, age: float) -> Resolved:
    def value(role: str) -> Any:
        return index.table[role][row].as_py() if role in index.table.column_names else None

    ra, dec, pmra, pmdec, epoch = (value(role) for role in ("ra", "dec", "pmra", "pmdec", "epoch"))
    others = [item for item in (value("aliases") or ()) if item]
    kind = value("kind")
    return Resolved(
        name=value("name") or (others[0] if others else ""),
        position=None if ra is None or dec is None else (float(ra), float(dec)),
        frame=index.frame,
        epoch=index.epoch if epoch is None else float(epoch),
        proper_motion=None if pmra is None or pmdec is None else (float(pmra), float(pmdec)),
        ids=tuple(dict.fromkeys(others)),
        kind=None if kind is None else str(kind),
        confidence=1.0 if own else ALIAS,
        source=source,
        age=age,
        note="" if ra is not None and dec is not None else "the table gives it no position",
    )


# --- the index -----------------------------------------------------------------------------------------------


def _index(asked: Asked) -> _Index:
    site = asked.site
    holdings = site.current()
    name = site.settings.resolver.table or ""
    item = next((item for key, item in holdings.published.items() if key.lower() == name.lower()), None)
    stamp = (item.run if item is not None else None, holdings.reach(ANONYMOUS, asked.policies))
    if item is not None and item.relation is None:  # a view follows other tables
        stamp = (holdings.version, stamp[1])
    indexes = site.kept(_Indexes)
    with indexes.lock:
        if indexes.last is None or indexes.last.stamp != stamp:
            indexes.last = _built(asked, name, stamp, item.updated if item is not None else "")
        return indexes.last


def _built(asked: Asked, name: str, stamp: tuple[str | None, str], updated: str) -> _Index:
    holdings = asked.site.current()
    catalogue = holdings.catalogue(ANONYMOUS, asked.policies)
    schema, _, short = name.partition(".")
    candidates = catalogue.find((Ident(schema), Ident(short)))
    if not candidates:
        raise UserError(
            say("there is no public table {name}, which resolver.table names", name),
            remedy="publish it, or change resolver.table in hven.toml",
        )
    table = candidates[0]
    published = holdings.published.get(table.qualified)
    if published is not None and isinstance(published.relation, Live):
        message = say("{name}, which resolver.table names, is read in place: names need a table that is ingested", name)
        raise UserError(message, remedy="copy it (source: {kind: sql, ..}), and name the copy in resolver.table")
    roles, aliases = _roles(table)
    frame, epoch = _frame(table, roles["ra"])
    columns = [*roles.values(), *(column for column in aliases if column not in roles.values())]
    bound, _ = permit(
        adql.bind(select(table, [column.name for column in columns]), catalogue), ANONYMOUS, asked.policies
    )
    reach = holdings.reach(ANONYMOUS, asked.policies)
    relations = {item.qualified: holdings.relation(item, reach) for item in bound.tables}
    execution = asked.site.engine.prepare(bound).execute((), relations, Limits(rows=MOST, clock=Clock(SECONDS)))
    try:
        batches = list(execution)
    finally:
        execution.close()
    rows = pa.Table.from_batches(batches, schema=execution.schema)
    if rows.num_rows > MOST:
        raise TooLarge(
            say("{name} has more than {most:,} rows; a table of names may have so many", name, MOST),
            remedy="name a smaller one in resolver.table",
        )
    given = dict(zip((column.name for column in columns), rows.columns, strict=True))
    made = {role: _values(role, column, given[column.name]) for role, column in roles.items()}
    others = [_many(given[column.name], column) for column in aliases]
    return _sorted(made, others, stamp, updated, (frame, epoch))


def _roles(table: Table) -> tuple[dict[str, Column], list[Column]]:
    """Find the columns: by UCD, then by name; every further column with a ``meta.id`` has aliases."""
    roles: dict[str, Column] = {}
    for role, (ucds, names) in ROLES.items():
        by_ucd = [column for column in table.columns if any((column.ucd or "").lower().startswith(ucd) for ucd in ucds)]
        by_name = [column for name in names for column in table.columns if column.name.lower() == name]
        found = next((column for column in (*by_ucd, *by_name) if _fits(role, column)), None)
        if found is not None:
            roles[role] = found
    if table.position is not None:
        for role, name in zip(("ra", "dec"), table.position, strict=True):
            roles[role] = next(column for column in table.columns if column.name == name)
    aliases = [roles.pop("aliases")] if "aliases" in roles else []
    texts = [
        column for column in table.columns if column.type.is_string and (column.ucd or "").lower().startswith("meta.id")
    ]
    if "name" not in roles and texts:
        roles["name"] = texts[0]
    aliases += [column for column in texts if column not in aliases and column is not roles.get("name")]
    missing = [role for role in ("name", "ra", "dec") if role not in roles]
    if missing:
        raise UserError(
            say("{table} cannot resolve names: it has no column for {roles}", table.qualified, " and ".join(missing)),
            remedy="give its columns the UCDs meta.id;meta.main, pos.eq.ra;meta.main and pos.eq.dec;meta.main",
        )
    return roles, aliases


def _fits(role: str, column: Column) -> bool:
    if role in {"name", "aliases"}:
        return column.type.is_string
    return role == "kind" or column.type.is_numeric


def _frame(table: Table, column: Column) -> tuple[str, float | None]:
    """Check that it is ICRS, and read its epoch: a position that means something else would be wrong without a word."""
    found = next((item for item in table.frames if item.id == column.frame), None)
    system = None if found is None else found.system
    if system is None or system.upper() in {"ICRS", "ICRF"}:
        epoch = ((found.epoch if found is not None else None) or "").upper().removeprefix("J")
        return "ICRS", float(epoch) if re.fullmatch(r"[0-9]{4}(\.[0-9]+)?", epoch) else None
    raise UserError(
        say("{table} cannot resolve names: its positions are {system}", table.qualified, system),
        remedy="give it ICRS positions",
    )


def _values(role: str, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    wanted = {"ra": "deg", "dec": "deg", "pmra": "mas/yr", "pmdec": "mas/yr"}.get(role)
    if wanted is None:
        return values.cast(pa.float64()) if role == "epoch" else values.cast(pa.string())
    numbers = values.cast(pa.float64())
    if column.unit in {None, wanted}:
        return numbers
    try:
        return pc.multiply(numbers, units.factor(column.unit, wanted))
    except ValueError as error:
        raise UserError(
            say("the column {name} cannot be turned into {wanted}: {message}", column.name, wanted, error),
            remedy="correct its unit",
        ) from error


def _many(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Return lists of names, of texts with several of them or of lists."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    if not column.type.is_string:
        raise ServiceError(say("the column {name} has no names", column.name))
    return pc.split_pattern_regex(values.cast(pa.string()), SEPARATORS).cast(pa.list_(pa.string()))


def _sorted(
    made: dict[str, pa.ChunkedArray],
    others: list[pa.ChunkedArray],
    stamp: tuple[str | None, str],
    updated: str,
    frame: tuple[str, float | None],
) -> _Index:
    count = len(made["name"])
    spelt = [keys(made["name"])]
    rows = [pa.array(np.arange(count))]
    own = [pa.array(np.ones(count, bool))]
    joined: list[pa.Array] = []
    for lists in others:
        flat = lists.combine_chunks()
        parents = pc.list_parent_indices(flat).cast(pa.int64())
        values = pc.list_flatten(flat)
        spelt.append(keys(values))
        rows.append(parents)
        own.append(pa.array(np.zeros(len(values), bool)))
        joined.append(flat)
    every = pa.table(
        {
            "key": pa.chunked_array([item for part in spelt for item in _chunks(part)]),
            "row": pa.chunked_array(rows),
            "own": pa.chunked_array(own),
        }
    )
    every = every.filter(pc.and_kleene(pc.is_valid(every["key"]), pc.not_equal(every["key"], "")))
    every = every.sort_by([("key", "ascending"), ("row", "ascending")]).combine_chunks()
    if joined:
        made["aliases"] = pa.chunked_array([_together(joined)])
    return _Index(
        stamp=stamp,
        table=pa.table(made),
        keys=_one(every["key"]),
        rows=_one(every["row"]),
        own=_one(every["own"]),
        updated=datetime.fromisoformat(updated).astimezone(UTC) if updated else None,
        frame=frame[0],
        epoch=frame[1],
    )


def _chunks(values: Any) -> list[pa.Array]:
    return list(values.chunks) if isinstance(values, pa.ChunkedArray) else [values]


def _one(values: Any) -> Any:
    found = values.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) and found.num_chunks else found


def _together(lists: list[pa.Array]) -> pa.Array:
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


def _offered(settings: Settings) -> bool:
    return settings.resolver.table is not None


def _place(settings: Settings) -> str:
    return say("the table {table}", settings.resolver.table)


PROVIDER = Provider(
    name="local",
    order=10,
    offered=_offered,
    place=_place,
    remedy="name a table of objects: resolver.table in hven.toml",
    find=find,
)

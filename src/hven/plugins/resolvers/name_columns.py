"""The provider ``columns``: columns of the site's public tables that contain names of objects.

Their UCD is ``meta.id;src``. Tables of objects may mark the names by ``meta.id;meta.main`` instead. Several rows with a
name, such as observations of a target, are one object at their mean position if they are close together. Tables with
times have observations: their names are looked up last (`observed_names`), because headers are often wrong.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import adql
from hven.engines import LiveRelation
from hven.model.errors import HvenError, format_message
from hven.model.sky import compute_angular_distance
from hven.plugins.resolvers.name_index import NameIndex, build_name_index, read_public_rows, split_aliases
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.query.resolver import NameProvider, NameRequest, ResolvedName
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column, Table
    from hven.site import PublishedTable

logger = logging.getLogger("hven")

MAX_NAMES_OF_TABLE = 500_000  # each process keeps the names in memory
MAX_SPREAD_ARCSEC = 60.0  # rows with the same name that are further apart are several objects, or a moving one
SOURCE_NAME_UCD = "meta.id;src"
ALIAS_UCDS = frozenset({"meta.id", "meta.id.cross", "meta.id.assoc", SOURCE_NAME_UCD})
NAME_CONFIDENCE, ALIAS_CONFIDENCE = 0.9, 0.8
MIN_MEAN_LENGTH = 1 - 1e-6  # of the mean of unit vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class _ColumnIndex:
    """The names in a table; None: it has too many, or none at a position."""

    table_name: str
    version_key: tuple[str | None, str]
    names: NameIndex | None
    licence: str
    has_observations: bool


class _ColumnIndexHolder:
    """The indexes of a site."""

    def __init__(self) -> None:
        self.state_key: tuple[str, str] | None = None
        self.indexes: dict[str, _ColumnIndex] = {}
        self.lock = threading.Lock()


def find_name_columns(table: Table) -> tuple[Column | None, list[Column]]:
    """Find the columns that contain the names of a table's objects.

    Parameters
    ----------
    table
        Any table.

    Returns
    -------
    name, aliases
        The column of the main name; None: the table has no names, or no equatorial ICRS positions in degrees.
    aliases
        Columns with further names.
    """
    columns = {column.name: column for column in table.columns}
    if table.position is None or not columns.keys() >= set(table.position):
        return None, []
    ra, dec = (columns[name] for name in table.position)
    frame = next((item for item in table.frames if item.id == ra.frame), None)
    is_icrs = frame is None or (frame.system or "ICRS").upper() in {"ICRS", "ICRF"}
    has_degrees = all(column.unit in {None, "deg"} for column in (ra, dec))
    if not is_icrs or not has_degrees or not (ra.ucd or "").lower().startswith("pos.eq.ra"):
        return None, []
    texts = [(column, (column.ucd or "").lower()) for column in table.columns if column.type.is_string]
    marked = [column for column, ucd in texts if ucd in {SOURCE_NAME_UCD, f"{SOURCE_NAME_UCD};meta.main"}]
    if not marked and not has_observations(table):
        marked = [column for column, ucd in texts if ucd == "meta.id;meta.main"]
    if not marked:
        return None, []
    return marked[0], [column for column, ucd in texts if ucd in ALIAS_UCDS and column is not marked[0]]


def has_observations(table: Table) -> bool:
    """Return whether a table lists observations, which have times; the epoch of a catalogue is not one.

    Parameters
    ----------
    table
        Any table.
    """
    ucds = [(column.ucd or "").lower() for column in table.columns]
    return any(ucd.startswith("time.") and not ucd.startswith("time.epoch") for ucd in ucds)


def find_objects_in_columns(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name in tables of objects; of objects at the same place, the best one is returned."""
    return list_distinct_named_objects(request, in_observations=False)


def list_distinct_named_objects(request: NameRequest, *, in_observations: bool) -> list[ResolvedName]:
    """List the places that have a name: one of those that are close together.

    Parameters
    ----------
    request
        The request.
    in_observations
        Whether the name is looked up in tables of observations, or in the others.
    """
    found: list[ResolvedName] = []
    for index in _list_current_indexes(request):
        if index.names is not None and index.has_observations == in_observations:
            found += _list_objects(index, index.names, request.name_key)
    found.sort(key=lambda resolved: (-resolved.confidence, resolved.source))
    chosen: list[ResolvedName] = []
    for resolved in found:
        if not any(_is_near(resolved, other) for other in chosen):
            chosen.append(resolved)
    return chosen


def _is_near(first: ResolvedName, second: ResolvedName) -> bool:
    if first.position is None or second.position is None:
        return False
    return float(compute_angular_distance(*first.position, *second.position)) * 3600 <= MAX_SPREAD_ARCSEC


def _list_objects(index: _ColumnIndex, names: NameIndex, name_key: str) -> Iterator[ResolvedName]:
    for row, is_main_name in names.find_rows(name_key):
        aliases = names.list_aliases(row)
        count, spread = names.read_value("rows", row), names.read_value("spread", row)
        note = ""
        if count > 1:
            note = format_message(
                "the mean position of {count:,} rows, which are up to {spread:.1f} arcsec apart", count, spread
            )
        yield ResolvedName(
            name=names.read_value("name", row),
            position=(names.read_value("ra", row), names.read_value("dec", row)),
            ids=aliases,
            confidence=NAME_CONFIDENCE if is_main_name else ALIAS_CONFIDENCE,
            source=f"table {index.table_name}",
            note=note,
            licence=index.licence,
        )


def _list_current_indexes(request: NameRequest) -> list[_ColumnIndex]:
    """Return the indexes of the tables that are published now; only changed tables are read."""
    published_state = request.site.get_published_state()
    access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, request.policies)
    catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, request.policies)
    own_table = (get_resolver_settings(request.site.settings).table or "").lower()
    holder = request.site.get_or_create(_ColumnIndexHolder)
    state_key = (published_state.version, access_key)
    with holder.lock:
        if holder.state_key == state_key:
            return list(holder.indexes.values())
        indexes = {}
        for table in catalogue.iterate_tables():
            name = table.qualified_name
            published = published_state.tables_by_name.get(name)
            if published is None or published.relation is None or isinstance(published.relation, LiveRelation):
                continue
            name_column, alias_columns = find_name_columns(table)
            if name_column is None or name.lower() == own_table:
                continue
            version_key = (published.run_id, access_key)
            index = holder.indexes.get(name)
            if index is None or index.version_key != version_key:
                names = _build_index(request, table, name_column, alias_columns)
                licence = _find_licence(published)
                index = _ColumnIndex(
                    table_name=name,
                    version_key=version_key,
                    names=names,
                    licence=licence,
                    has_observations=has_observations(table),
                )
            indexes[name] = index
        holder.indexes = indexes
        holder.state_key = state_key
        return list(indexes.values())


def _find_licence(published: PublishedTable) -> str:
    if published.resource is None:
        return ""
    return published.resource.licence or published.resource.licence_url or ""


def _build_index(
    request: NameRequest, table: Table, name_column: Column, alias_columns: Sequence[Column]
) -> NameIndex | None:
    """Read each name with the mean direction of its rows."""
    name_list = ", ".join(adql.quote_adql_name(column.name) for column in (name_column, *alias_columns))
    ra, dec = (adql.quote_adql_name(name) for name in table.position or ())
    query = (
        f"SELECT {name_list}, COUNT(*), AVG(COS(RADIANS({dec})) * COS(RADIANS({ra}))), "
        f"AVG(COS(RADIANS({dec})) * SIN(RADIANS({ra}))), AVG(SIN(RADIANS({dec}))), MIN({ra}), MAX({ra}), "
        f"MIN({dec}), MAX({dec}) FROM {adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)} "
        f"WHERE {adql.quote_adql_name(name_column.name)} IS NOT NULL AND {ra} IS NOT NULL AND {dec} IS NOT NULL "
        f"GROUP BY {name_list}"
    )
    try:
        rows = read_public_rows(request, adql.parse_query(query), MAX_NAMES_OF_TABLE)
    except HvenError as error:
        logger.warning("names of objects in %s cannot be read: %s", table.qualified_name, error.message)
        return None
    if rows.num_rows > MAX_NAMES_OF_TABLE:
        logger.warning(
            "%s has more than %d names of objects, so Hven does not search this table for names",
            table.qualified_name,
            MAX_NAMES_OF_TABLE,
        )
        return None
    alias_count = len(alias_columns)
    counts, x, y, z, *bounds = (np.asarray(column, np.float64) for column in rows.columns[1 + alias_count :])
    latitudes = np.degrees(np.arctan2(z, np.hypot(x, y)))
    widths = (bounds[1] - bounds[0]) % 360
    # the meridian of 0 degrees lies between rows whose longitudes differ by nearly 360 degrees
    widths = np.minimum(widths, 360 - widths) * np.cos(np.radians(latitudes))
    spreads = np.hypot(widths, bounds[3] - bounds[2]) * 3600
    lengths = np.sqrt(x**2 + y**2 + z**2)  # nearly 1 if all rows are close together
    is_object = pa.array((spreads <= MAX_SPREAD_ARCSEC) & (lengths > MIN_MEAN_LENGTH))
    columns_by_role = {
        "name": rows.column(0).cast(pa.string()),
        # the place of a single row is exact
        "ra": pa.chunked_array([np.where(counts == 1, bounds[0], np.degrees(np.arctan2(y, x)) % 360)]),
        "dec": pa.chunked_array([np.where(counts == 1, bounds[2], latitudes)]),
        "rows": pa.chunked_array([counts.astype(np.int64)]),
        "spread": pa.chunked_array([spreads]),
    }
    alias_lists = [
        split_aliases(rows.column(1 + number), column).filter(is_object) for number, column in enumerate(alias_columns)
    ]
    return build_name_index({role: values.filter(is_object) for role, values in columns_by_role.items()}, alias_lists)


PROVIDER = NameProvider(
    name="columns",
    order=25,
    offered=lambda settings: get_resolver_settings(settings).columns,
    place=lambda _: format_message("the names of objects in this site's tables"),
    remedy="set resolver.columns = true in hven.toml",
    find=find_objects_in_columns,
    is_general=False,
)

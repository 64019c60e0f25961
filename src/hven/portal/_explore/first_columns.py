"""The columns that a table's rows begin with.

Picture, title or name, time, place, what a search asks, then the table's own before those of its standard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import find_begin_and_end_columns
from hven.portal._explore import row_files
from hven.portal._explore.map_frames import find_map_frame
from hven.services.file_rows import classify_column, list_link_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import ObservationKey
    from hven.portal._explore.search import TableSearch

MAX_INITIAL_COLUMNS = 10  # columns; the two ends of a range are one
MAX_PICTURE_COLUMNS = 4  # beside each other
RANGE_ENDS = ("min", "max")
SERVICE_COLUMNS = ("service_title",)  # of EPN-TAP: the same in all rows


def find_title_column(table: Table) -> Column | None:
    """Return the column of rows' titles; None: they have no more than a name."""
    title_columns = (
        column for column in table.columns if (column.ucd or "").lower().startswith("meta.title") and not column.hidden
    )
    return next(
        (column for column in title_columns if column.type.is_string and column.name not in SERVICE_COLUMNS), None
    )


def choose_initial_columns(
    search: TableSearch, constant_names: Collection[str], observation: ObservationKey | None = None
) -> tuple[str, ...]:
    """Return the names of the columns that are shown where nobody has chosen any, in their order.

    Parameters
    ----------
    constant_names
        Names of columns that say the same in all rows.
    observation
        What names observations, if these are the lines.
    """
    table = search.table
    shown_columns = [column for column in search.list_shown_columns() if column.name not in constant_names]
    if search.columns:
        return tuple(column.name for column in search.list_shown_columns())
    pictures = [column for column in shown_columns if classify_column(column, table) == "picture"]
    required_names = [column.name for column in pictures[:MAX_PICTURE_COLUMNS]]
    required_names += [
        title_column.name for title_column in (find_title_column(table),) if title_column is not None
    ] or _find_name_column(table, observation)
    required_names = [name for name in required_names if name not in constant_names]
    chosen_names = dict.fromkeys([*required_names, *find_searched_columns(search)])
    if _count_merged_columns([column.name for column in shown_columns]) <= MAX_INITIAL_COLUMNS and observation is None:
        return tuple(dict.fromkeys([*chosen_names, *(column.name for column in shown_columns)]))
    shown_names = {column.name for column in shown_columns}
    chosen_names |= dict.fromkeys(
        name for name in (*_find_time_columns(table), *_find_place_columns(table)) if name in shown_names
    )
    files = {
        column.name for column in (*list_link_columns(table), row_files.find_size_column(table)) if column is not None
    }
    files |= set(table.primary) if observation is not None else set()
    for column in sorted(shown_columns, key=lambda title_column: title_column.std):
        has_room = (
            _count_merged_columns(chosen_names) < MAX_INITIAL_COLUMNS or _find_other_end(column.name) in chosen_names
        )
        if has_room and column.name not in files and not _is_technical(column, table):
            chosen_names[column.name] = None
    link_names = [column.name for column in list_link_columns(table) if column in shown_columns and observation is None]
    return tuple(
        dict.fromkeys(
            [*chosen_names, *(link_names[:1] if _count_merged_columns(chosen_names) < MAX_INITIAL_COLUMNS else ())]
        )
    )


def find_searched_columns(search: TableSearch) -> Iterator[str]:
    """Yield the columns that somebody asks about: what is searched for is seen."""
    column_names = {column.name for column in search.table.columns if not column.hidden}
    for name in (*(name for name, _ in search.conditions), *(name for name, _ in (*search.order, *search.units))):
        pair = [f"{name}{between}{end}" for end in RANGE_ENDS for between in ("_", "")]
        yield from (column_name for column_name in (name, *pair) if column_name in column_names)


def _find_name_column(table: Table, observation: ObservationKey | None) -> list[str]:
    if observation is not None:
        return [observation.columns[0]]
    return list(table.primary[:1]) or [column.name for column in table.columns if not column.hidden][:1]


def _find_time_columns(table: Table) -> list[str]:
    return list(dict.fromkeys(column.name for column in find_begin_and_end_columns(table) if column is not None))


def _find_place_columns(table: Table) -> list[str]:
    map_frame = find_map_frame(table)
    if map_frame is not None:
        west, south, east, north = map_frame.bounds
        return list(dict.fromkeys([west, east, south, north]))
    return list(table.position or ())


def _is_technical(column: Column, table: Table) -> bool:
    """Check whether a column is for programs, or says again what others do.

    Outlines, further names, links, what tells files apart.
    """
    ucd = (column.ucd or "").lower()
    is_identifier = ucd.startswith("meta.id") and not ucd.startswith(("meta.id;instr", "meta.id;src"))
    return (
        (column.std and (is_identifier or column.name in {"access_format", "granule_gid"}))
        or column.type.is_geometry
        or column.name.lower() == "s_region"
        or classify_column(column, table) == "link"
    )


def _count_merged_columns(column_names: Collection[str]) -> int:
    """Count columns: those that are the ends of one range are one."""
    return len({_strip_range_end(name) for name in column_names})


def _strip_range_end(name: str) -> str:
    return next((name.removesuffix(end).rstrip("_") for end in RANGE_ENDS if name.lower().endswith(end)), name)


def _find_other_end(name: str) -> str:
    """Return the other end of a range."""
    for end, other in (RANGE_ENDS, RANGE_ENDS[::-1]):
        if name.lower().endswith(end):
            return name[: -len(end)] + other
    return ""

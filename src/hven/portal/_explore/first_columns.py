"""Choose the columns that a table shows first.

These are pictures, title or name, time, place, searched columns, then the table's own columns before standard ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import find_begin_and_end_time_columns
from hven.portal._explore import row_files
from hven.portal._explore.map_frames import find_map_frame
from hven.services.file_rows import classify_column_display, list_link_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import ObservationColumnRoles
    from hven.portal._explore.search import TableSearch

MAX_INITIAL_COLUMNS = 10  # the two ends of a range count as one
MAX_PICTURE_COLUMNS = 4
RANGE_ENDS = ("min", "max")
SERVICE_COLUMNS = ("service_title",)  # of EPN-TAP: the same in all rows


def find_title_column(table: Table) -> Column | None:
    """Return the column with the titles of rows; None if rows have only names."""
    for column in table.columns:
        is_title = (column.ucd or "").lower().startswith("meta.title") and column.type.is_string
        if is_title and not column.hidden and column.name not in SERVICE_COLUMNS:
            return column
    return None


def choose_initial_columns(
    search: TableSearch, constant_names: Collection[str], observation: ObservationColumnRoles | None = None
) -> tuple[str, ...]:
    """Return the names of the columns that are shown by default, in their order.

    Parameters
    ----------
    search
        The search.
    constant_names
        Names of columns with the same value in all rows.
    observation
        The key of observations, if they are the lines.
    """
    table = search.table
    shown_columns = [column for column in search.list_shown_columns() if column.name not in constant_names]
    if search.columns:
        return tuple(column.name for column in search.list_shown_columns())
    pictures = [column for column in shown_columns if classify_column_display(column, table) == "picture"]
    required_names = [column.name for column in pictures[:MAX_PICTURE_COLUMNS]]
    title_column = find_title_column(table)
    if title_column is not None:
        required_names.append(title_column.name)
    else:
        required_names += _find_identifying_column_names(table, observation)
    required_names = [name for name in required_names if name not in constant_names]
    chosen_names = dict.fromkeys([*required_names, *find_searched_column_names(search)])
    all_names = [column.name for column in shown_columns]
    if observation is None and _count_columns_with_merged_ranges(all_names) <= MAX_INITIAL_COLUMNS:
        return tuple(dict.fromkeys([*chosen_names, *all_names]))
    time_and_place_names = [*_list_time_column_names(table), *_list_position_column_names(table)]
    chosen_names |= dict.fromkeys(name for name in time_and_place_names if name in all_names)
    link_columns = list_link_columns(table)
    size_column = row_files.find_size_column(table)
    files = {column.name for column in (*link_columns, size_column) if column is not None}
    files |= set(table.primary) if observation is not None else set()
    for column in sorted(shown_columns, key=lambda column: column.std):
        is_other_end = _derive_other_range_end(column.name) in chosen_names
        has_room = is_other_end or _count_columns_with_merged_ranges(chosen_names) < MAX_INITIAL_COLUMNS
        if has_room and column.name not in files and not _is_technical_column(column, table):
            chosen_names[column.name] = None
    if observation is None and _count_columns_with_merged_ranges(chosen_names) < MAX_INITIAL_COLUMNS:
        link_names = [column.name for column in link_columns if column in shown_columns]
        chosen_names |= dict.fromkeys(link_names[:1])
    return tuple(chosen_names)


def find_searched_column_names(search: TableSearch) -> Iterator[str]:
    """Yield the columns of the search's conditions, order and units."""
    column_names = {column.name for column in search.table.columns if not column.hidden}
    searched_names = [name for name, _ in search.conditions]
    searched_names += [name for name, _ in (*search.order, *search.units)]
    for name in searched_names:
        pair_names = [f"{name}{separator}{end}" for end in RANGE_ENDS for separator in ("_", "")]
        yield from (column_name for column_name in (name, *pair_names) if column_name in column_names)


def _find_identifying_column_names(table: Table, observation: ObservationColumnRoles | None) -> list[str]:
    if observation is not None:
        return [observation.columns[0]]
    return list(table.primary[:1]) or [column.name for column in table.columns if not column.hidden][:1]


def _list_time_column_names(table: Table) -> list[str]:
    return list(dict.fromkeys(column.name for column in find_begin_and_end_time_columns(table) if column is not None))


def _list_position_column_names(table: Table) -> list[str]:
    map_frame = find_map_frame(table)
    if map_frame is not None:
        west, south, east, north = map_frame.bounds
        return list(dict.fromkeys([west, east, south, north]))
    return list(table.position or ())


def _is_technical_column(column: Column, table: Table) -> bool:
    """Return whether a column is for programs, or repeats others: outlines, further names, links, file details."""
    ucd = (column.ucd or "").lower()
    is_identifier = ucd.startswith("meta.id") and not ucd.startswith(("meta.id;instr", "meta.id;src"))
    if column.std and (is_identifier or column.name in {"access_format", "granule_gid"}):
        return True
    is_outline = column.type.is_geometry or column.name.lower() == "s_region"
    return is_outline or classify_column_display(column, table) == "link"


def _count_columns_with_merged_ranges(column_names: Collection[str]) -> int:
    """Count columns; the two ends of a range count as one."""
    return len({_strip_range_end(name) for name in column_names})


def _strip_range_end(name: str) -> str:
    for end in RANGE_ENDS:
        if name.lower().endswith(end):
            return name.removesuffix(end).rstrip("_")
    return name


def _derive_other_range_end(name: str) -> str:
    """Return the other end of a range."""
    for end, other in (RANGE_ENDS, RANGE_ENDS[::-1]):
        if name.lower().endswith(end):
            return name[: -len(end)] + other
    return ""

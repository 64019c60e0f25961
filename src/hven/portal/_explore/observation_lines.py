"""Group rows into observations: the rows of one observation are shown as one line with several files.

The columns that name an observation are those of ``observation`` in the descriptor. Otherwise they are ``obs_id``, the
begin time and the instrument, if these repeat and each row has a file of its own, according to the statistics of the
published rows. Rows that share a file are separate detections in it. A line is the row with the smallest key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model import split_address_or_empty, units
from hven.model.errors import HvenError
from hven.portal._explore import row_files
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import TableSearch, build_column_ref
from hven.services.file_rows import (
    can_have_observation_columns,
    classify_column_display,
    find_observation_columns,
    list_file_link_columns,
)
from hven.services.scripts import ADDRESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.row_pages import RowPage

COUNT_TIMEOUT_SECONDS = 2.0  # for counting all lines
MAX_LISTED_FILES = 5_000  # files of a page
WEB_PREFIXES = ("http://", "https://", "ftp://")
MAX_WORD_CHARACTERS = 14  # of a word that distinguishes files
FILE_WORD_COLUMNS = ("granule_gid", "dataproduct_type", "access_format")  # distinguish the files of an observation
EXTENSION_PATTERN = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,5})(?:\.(?:gz|bz2|xz|zst))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationColumnRoles:
    """The columns that name the observations of a table, and those that describe their files.

    `has_unnamed_rows`: rows without a name exist; each of them is a line.
    """

    columns: tuple[str, ...]
    link: Column | None
    size: Column | None
    picture: Column | None
    word_columns: tuple[str, ...]
    has_unnamed_rows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationFile:
    """A file of an observation: its key, address, picture, distinguishing word and size.

    `address` and `picture` are empty if there are none. `values` are those of the requested columns.
    """

    key: str
    address: str
    word: str
    size: int | None = None
    picture: str = ""
    values: tuple[object, ...] = ()


def find_observation_column_roles(table: Table, runner: QueryRunner) -> ObservationColumnRoles | None:
    """Find the columns that name the observations of a table; None if each row is an observation."""
    if not can_have_observation_columns(table):
        return None
    item = runner.find_table_with_visible_counts(table)
    names = find_observation_columns(table, item)
    if not names:
        return None
    columns = {column.name.lower(): column for column in table.columns if not column.hidden}
    link = next(iter(list_file_link_columns(table)), None)
    size = row_files.find_size_column(table)
    pictures = [column for column in columns.values() if classify_column_display(column, table) == "picture"]
    picture = pictures[0] if pictures else None
    candidates = [columns[name] for name in FILE_WORD_COLUMNS if name in columns]
    word_columns = [column.name for column in candidates if column.type.is_string]
    return ObservationColumnRoles(
        columns=names,
        link=link,
        size=size,
        picture=picture,
        word_columns=tuple(word_columns),
        has_unnamed_rows=item.statistics.get(names[0], {}).get("nulls") != 0,
    )


def count_observation_lines(table: Table, runner: QueryRunner) -> int | None:
    """Count the lines of a table, once for each state of it.

    Return None if each row is a line, or if counting takes too long.
    """
    if table.view is not None:
        observation_key = None
    else:
        observation_key = find_observation_column_roles(table, runner)
    if observation_key is None:
        return None
    count_query = build_observation_line_search(TableSearch(table=table), observation_key).build_count_query()
    count_table = runner.fetch_cached_until_change(count_query, table, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    if count_table is None:
        return None
    return int(count_table.column(0)[0].as_py())


def build_observation_line_search(search: TableSearch, observation_key: ObservationColumnRoles) -> TableSearch:
    """Return the search for one row of each observation among the rows that a search finds."""
    where = search.build_condition()
    table = search.table
    key = build_column_ref(table.primary[0])
    first_key = syntax_tree.SelectItem(syntax_tree.FunctionCall("MIN", (key,)), syntax_tree.Ident("line"))
    if observation_key.has_unnamed_rows:
        column_ref = build_column_ref(observation_key.columns[0])
        is_named = syntax_tree.NullPredicate(column_ref, negated=True)
    else:
        is_named = None
    first_keys = syntax_tree.Select(
        (first_key,),
        search.build_from_item(),
        where=syntax_tree.join_conditions_with_and(where, is_named),
        group_by=tuple(map(build_column_ref, observation_key.columns)),
    )
    key_query = syntax_tree.Query(first_keys)
    test: syntax_tree.Expr = syntax_tree.InPredicate(key, syntax_tree.Subquery(key_query))
    if observation_key.has_unnamed_rows:
        column_ref = build_column_ref(observation_key.columns[0])
        unnamed_condition = syntax_tree.join_conditions_with_and(where, syntax_tree.NullPredicate(column_ref))
        test = syntax_tree.Disjunction((test, unnamed_condition if unnamed_condition is not None else test))
    return search.copy_with(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", every=None)


def list_observation_files(
    page: RowPage,
    search: TableSearch,
    observation_key: ObservationColumnRoles,
    runner: QueryRunner,
    extra_columns: Sequence[str] = (),
) -> list[list[ObservationFile]]:
    """List the files of the observation of each line of a page, among the rows that `search` finds.

    Return an empty list for each line if the query fails.

    Parameters
    ----------
    page
        Page of lines, with any columns.
    search
        The search before rows were grouped into lines.
    extra_columns
        Further columns whose values are returned.
    """
    if not page.keys:
        return []
    table = search.table
    try:
        key_search = row_files.build_search_by_row_keys_alone(TableSearch(table=table), page.keys)
        query = key_search.build_query(columns=[*table.primary, *observation_key.columns])
        line_rows = runner.fetch_table(query)
        names = line_rows.column(len(table.primary)).to_pylist()
        observation_names = list(dict.fromkeys(name for name in names if name is not None))
        file_columns = _list_column_names(observation_key.link, observation_key.size, observation_key.picture)
        key_columns = [*table.primary, *observation_key.columns, *observation_key.word_columns]
        selected_columns = dict.fromkeys([*key_columns, *file_columns, *extra_columns])
        if observation_names:
            column_ref = build_column_ref(observation_key.columns[0])
            name_literals = tuple(map(syntax_tree.Literal, observation_names))
            name_condition = syntax_tree.InPredicate(column_ref, name_literals)
        else:
            name_condition = None
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in selected_columns)
        where = syntax_tree.join_conditions_with_and(search.build_condition(), name_condition)
        order = (syntax_tree.OrderItem(build_column_ref(table.primary[0])),)
        if name_condition is not None:
            select = syntax_tree.Select(items, search.build_from_item(), where=where)
            rows = runner.fetch_table(syntax_tree.Query(select, order_by=order), row_limit=MAX_LISTED_FILES)
        else:
            rows = line_rows.slice(0, 0)
    except HvenError:  # the page still shows the lines
        return [[] for _ in page.keys]
    groups: dict[tuple[object, ...], list[tuple[str, dict[str, object]]]] = {}
    row_keys = format_keys(rows, table.primary) if rows.num_rows else ()
    for key, row in zip(row_keys, rows.to_pylist(), strict=True):
        observation_name = tuple(row[name] for name in observation_key.columns)
        groups.setdefault(observation_name, []).append((key, row))
    groups_by_key = {}
    for key, row in zip(format_keys(line_rows, table.primary), line_rows.to_pylist(), strict=True):
        groups_by_key[key] = tuple(row[name] for name in observation_key.columns)
    line_files = []
    for key in page.keys:
        keyed_rows = groups.get(groups_by_key.get(key, ()), [])
        line_files.append(_describe_observation_files(keyed_rows, observation_key, extra_columns))
    return line_files


def find_row_file(row: Mapping[str, object], table: Table) -> ObservationFile | None:
    """Return the file of one row; None if no column has its address."""
    size = row_files.find_size_column(table)
    for link_column in list_file_link_columns(table):
        address = str(row.get(link_column.name) or "")
        is_file_address = link_column.name.lower() in ADDRESS_COLUMNS or "meta.file" in (link_column.ucd or "")
        if address.startswith(WEB_PREFIXES) and is_file_address:
            return ObservationFile(key="", address=address, word="", size=_compute_file_bytes(row, size))
    return None


def _describe_observation_files(
    keyed_rows: Sequence[tuple[str, dict[str, object]]],
    observation_key: ObservationColumnRoles,
    column_names: Sequence[str],
) -> list[ObservationFile]:
    """Describe the files of one observation, each with a word that distinguishes it.

    The words come from the first column with different values, or from the file name extensions.
    """
    link_column = observation_key.link
    picture_column = observation_key.picture
    links = ["" if link_column is None else str(row[link_column.name] or "") for _, row in keyed_rows]
    endings = []
    for link in links:
        ending_match = EXTENSION_PATTERN.search(split_address_or_empty(link).path)
        endings.append("" if ending_match is None else ending_match[1].lower())
    choices = [[str(row[name] or "") for _, row in keyed_rows] for name in observation_key.word_columns]
    choices.insert(1, endings)
    words = [ending or str(file_number + 1) for file_number, ending in enumerate(endings)]
    for choice_words in choices:
        are_distinct = len(set(choice_words)) == len(keyed_rows)
        if are_distinct and all(0 < len(word) <= MAX_WORD_CHARACTERS for word in choice_words):
            words = choice_words
            break
    files = []
    for (key, row), link, word in zip(keyed_rows, links, words, strict=True):
        observation_file = ObservationFile(
            key=key,
            address=link if link.startswith(WEB_PREFIXES) else "",
            word=word,
            size=_compute_file_bytes(row, observation_key.size),
            picture="" if picture_column is None else str(row[picture_column.name] or ""),
            values=tuple(row[name] for name in column_names),
        )
        files.append(observation_file)
    return files


def _compute_file_bytes(row: Mapping[str, object], size_column: Column | None) -> int | None:
    if size_column is None:
        return None
    value = row[size_column.name]
    if not isinstance(value, int | float):
        return None
    return round(float(value) * units.compute_unit_factor(size_column.unit, "byte"))


def _list_column_names(*columns: Column | None) -> list[str]:
    return [column.name for column in columns if column is not None]

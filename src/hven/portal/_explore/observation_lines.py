"""Rows as observations: rows that share what names an observation are one line, whose files they are.

Which columns name it says ``observation`` of the descriptor; else they are ``obs_id`` with the time at which it began
and its instrument, where these repeat and each row has a file of its own, as the statistics of its published rows say:
rows that share a file are what was found in it, each for itself. A line is the row of the smallest key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.model import split_address_or_none, units
from hven.model.errors import HvenError
from hven.portal._explore import row_files
from hven.portal._explore.row_pages import format_keys
from hven.portal._explore.search import TableSearch, build_column_ref
from hven.services.file_rows import classify_column, find_observation_columns, list_file_columns
from hven.services.scripts import ADDRESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.row_pages import RowPage

COUNT_TIMEOUT_SECONDS = 2.0  # seconds that counting all lines may take
MAX_LISTED_FILES = 5_000  # files of a page
WEB_PREFIXES = ("http://", "https://", "ftp://")
MAX_WORD_CHARACTERS = 14  # characters of a word that tells files apart
FILE_WORD_COLUMNS = ("granule_gid", "dataproduct_type", "access_format")  # what tells files of an observation apart
EXTENSION_PATTERN = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,5})(?:\.(?:gz|bz2|xz|zst))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationKey:
    """What names the observations of a table, and what is told of their files; `has_unnamed_rows`.

    There are rows without a name, each of which is a line.
    """

    columns: tuple[str, ...]
    link: Column | None
    size: Column | None
    picture: Column | None
    word_columns: tuple[str, ...]
    has_unnamed_rows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationFile:
    """A row of an observation: its key, where its file and its picture are (empty: it has none), what tells it from the others, how large it is; `values` of the columns that were asked for."""

    key: str
    address: str
    word: str
    size: int | None = None
    picture: str = ""
    values: tuple[object, ...] = ()


def find_observation_key(table: Table, runner: QueryRunner) -> ObservationKey | None:
    """Find what names the observations of a table; None: each of its rows is one."""
    item = runner.find_published_table(table)
    names = find_observation_columns(table, item)
    if not names:
        return None
    columns = {column.name.lower(): column for column in table.columns if not column.hidden}
    link = next(iter(list_file_columns(table)), None)
    size = row_files.find_size_column(table)
    picture = next(
        (link_column for link_column in columns.values() if classify_column(link_column, table) == "picture"), None
    )
    return ObservationKey(
        columns=names,
        link=link,
        size=size,
        picture=picture,
        word_columns=tuple(
            columns[name].name for name in FILE_WORD_COLUMNS if name in columns and columns[name].type.is_string
        ),
        has_unnamed_rows=item.statistics.get(names[0], {}).get("nulls") != 0,
    )


def count_lines(table: Table, runner: QueryRunner) -> int | None:
    """Count the lines of a table, once for each state of it; None.

    Each of its rows is one, or nobody could count in time.
    """
    if table.view is not None:
        observation_key = None
    else:
        observation_key = find_observation_key(table, runner)
    if observation_key is None:
        return None
    count_query = build_line_search(TableSearch(table=table), observation_key).build_count_query()
    count_table = runner.fetch_lasting(
        count_query,
        table,
        timeout_seconds=COUNT_TIMEOUT_SECONDS,
    )
    if count_table is None:
        return None
    return int(count_table.column(0)[0].as_py())


def build_line_search(search: TableSearch, observation_key: ObservationKey) -> TableSearch:
    """Return the search of one row for each observation, of the rows that a search finds."""
    where = search.build_condition()
    table = search.table
    key = build_column_ref(table.primary[0])
    first_key = syntax_tree.SelectItem(syntax_tree.FunctionCall("MIN", (key,)), syntax_tree.Ident("line"))
    if observation_key.has_unnamed_rows:
        column_ref = build_column_ref(observation_key.columns[0])
        has_name = syntax_tree.NullPredicate(column_ref, negated=True)
    else:
        has_name = None
    first_keys = syntax_tree.Select(
        (first_key,),
        search.build_source(),
        where=syntax_tree.join_conditions(where, has_name),
        group_by=tuple(map(build_column_ref, observation_key.columns)),
    )
    test: syntax_tree.Expr = syntax_tree.InPredicate(key, syntax_tree.Subquery(syntax_tree.Query(first_keys)))
    if observation_key.has_unnamed_rows:
        unnamed_condition = syntax_tree.join_conditions(
            where, syntax_tree.NullPredicate(build_column_ref(observation_key.columns[0]))
        )
        test = syntax_tree.Disjunction((test, unnamed_condition if unnamed_condition is not None else test))
    return search.copy_with(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", every=None)


def list_line_files(
    page: RowPage,
    search: TableSearch,
    observation_key: ObservationKey,
    runner: QueryRunner,
    extra_columns: Sequence[str] = (),
) -> list[list[ObservationFile]]:
    """List for each line of a page the files of its observation, of the rows that `search` finds.

    Nothing where nobody could say in time.

    Parameters
    ----------
    page
        Lines; their columns may be any.
    search
        As it was before rows became lines.
    extra_columns
        Columns whose values are asked for, too.
    """
    if not page.keys:
        return []
    table = search.table
    try:
        query = row_files.select_row_keys(TableSearch(table=table), page.keys).build_query(
            columns=[*table.primary, *observation_key.columns]
        )
        line_rows = runner.fetch_table(query)
        names = line_rows.column(len(table.primary)).to_pylist()
        observation_names = list(dict.fromkeys(name for name in names if name is not None))
        selected_columns = [
            *dict.fromkeys(
                [
                    *table.primary,
                    *observation_key.columns,
                    *observation_key.word_columns,
                    *_list_column_names(observation_key.link, observation_key.size, observation_key.picture),
                    *extra_columns,
                ]
            )
        ]
        if observation_names:
            column_ref = build_column_ref(observation_key.columns[0])
            name_condition = syntax_tree.InPredicate(column_ref, tuple(map(syntax_tree.Literal, observation_names)))
        else:
            name_condition = None
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in selected_columns)
        where = syntax_tree.join_conditions(search.build_condition(), name_condition)
        order = (syntax_tree.OrderItem(build_column_ref(table.primary[0])),)
        if name_condition is not None:
            rows = runner.fetch_table(
                syntax_tree.Query(syntax_tree.Select(items, search.build_source(), where=where), order_by=order),
                row_limit=MAX_LISTED_FILES,
            )
        else:
            rows = line_rows.slice(0, 0)
    except HvenError:  # the lines themselves are there
        return [[] for _ in page.keys]
    groups: dict[tuple[object, ...], list[tuple[str, dict[str, object]]]] = {}
    for key, row in zip(format_keys(rows, table.primary) if rows.num_rows else (), rows.to_pylist(), strict=True):
        groups.setdefault(tuple(row[name] for name in observation_key.columns), []).append((key, row))
    groups_by_key = {
        key: tuple(row[name] for name in observation_key.columns)
        for key, row in zip(format_keys(line_rows, table.primary), line_rows.to_pylist(), strict=True)
    }
    return [
        _describe_files(groups.get(groups_by_key.get(key, ()), []), observation_key, extra_columns) for key in page.keys
    ]


def find_row_file(row: Mapping[str, object], table: Table) -> ObservationFile | None:
    """Return the file of one row, by all of its columns; None: it has none whose address is known."""
    size = row_files.find_size_column(table)
    for link_column in list_file_columns(table):
        address = str(row.get(link_column.name) or "")
        if address.startswith(WEB_PREFIXES) and (
            link_column.name.lower() in ADDRESS_COLUMNS or "meta.file" in (link_column.ucd or "")
        ):
            return ObservationFile(key="", address=address, word="", size=_compute_file_bytes(row, size))
    return None


def _describe_files(
    keyed_rows: Sequence[tuple[str, dict[str, object]]], observation_key: ObservationKey, column_names: Sequence[str]
) -> list[ObservationFile]:
    """Tell the files of one observation apart by the first word that does so.

    Of a column, else the ends of their names.
    """
    links = ["" if observation_key.link is None else str(row[observation_key.link.name] or "") for _, row in keyed_rows]
    endings = [
        ending[1].lower() if (ending := EXTENSION_PATTERN.search(split_address_or_none(link).path)) else ""
        for link in links
    ]
    choices = [[str(row[name] or "") for _, row in keyed_rows] for name in observation_key.word_columns]
    choices.insert(1, endings)
    words = next(
        (
            choice_words
            for choice_words in choices
            if len(set(choice_words)) == len(keyed_rows)
            and all(0 < len(word) <= MAX_WORD_CHARACTERS for word in choice_words)
        ),
        None,
    )
    words = words or [ending or str(file_number + 1) for file_number, ending in enumerate(endings)]
    return [
        ObservationFile(
            key=key,
            address=link if link.startswith(WEB_PREFIXES) else "",
            word=word,
            size=_compute_file_bytes(row, observation_key.size),
            picture="" if observation_key.picture is None else str(row[observation_key.picture.name] or ""),
            values=tuple(row[name] for name in column_names),
        )
        for (key, row), link, word in zip(keyed_rows, links, words, strict=True)
    ]


def _compute_file_bytes(row: Mapping[str, object], size_column: Column | None) -> int | None:
    if size_column is None:
        value = None
    else:
        value = row[size_column.name]
    if size_column is not None and isinstance(value, int | float):
        return round(float(value) * units.compute_factor(size_column.unit, "byte"))
    return None


def _list_column_names(*columns: Column | None) -> list[str]:
    return [column.name for column in columns if column is not None]

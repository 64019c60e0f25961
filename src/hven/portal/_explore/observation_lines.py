"""Rows as observations: rows that share what names an observation are one line, whose files they are.

Which columns name it says ``observation`` of the descriptor; else they are ``obs_id`` with the time at which it began and its instrument,
where these repeat and each row has a file of its own, as the statistics of its published rows say: rows that share a file are what was
found in it, each for itself. A line is the row of the smallest key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.model import split_address_or_none, units
from hven.model.errors import HvenError
from hven.portal._explore import cart
from hven.portal._explore.rows import keys_of
from hven.portal._explore.search import Search, ref
from hven.services.file_rows import find_observation_columns, kind_of, list_file_columns
from hven.services.scripts import FIRST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.rows import Page

PATIENCE = 2.0  # seconds that counting all lines may take
LISTED = 5_000  # files of a page
WEB = ("http://", "https://", "ftp://")
SHORT = 14  # characters of a word that tells files apart
WORDS = ("granule_gid", "dataproduct_type", "access_format")  # what tells files of an observation apart
ENDING = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,5})(?:\.(?:gz|bz2|xz|zst))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What names the observations of a table, and what is told of their files; `unnamed`: there are rows without a name, each of which is a line."""

    columns: tuple[str, ...]
    link: Column | None
    size: Column | None
    picture: Column | None
    words: tuple[str, ...]
    unnamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A row of an observation: its key, where its file and its picture are (empty: it has none), what tells it from the others, how large it is; `values` of the columns that were asked for."""

    key: str
    address: str
    word: str
    size: int | None = None
    picture: str = ""
    values: tuple[object, ...] = ()


def observed(table: Table, asking: Asking) -> Observed | None:
    """Find what names the observations of a table; None: each of its rows is one."""
    item = asking.published(table)
    names = find_observation_columns(table, item)
    if not names:
        return None
    columns = {column.name.lower(): column for column in table.columns if not column.hidden}
    return Observed(
        columns=names,
        link=next(iter(list_file_columns(table)), None),
        size=cart.size_of(table),
        picture=next((one for one in columns.values() if kind_of(one, table) == "picture"), None),
        words=tuple(columns[name].name for name in WORDS if name in columns and columns[name].type.is_string),
        unnamed=item.statistics.get(names[0], {}).get("nulls") != 0,
    )


def number(table: Table, asking: Asking) -> int | None:
    """Count the lines of a table, once for each state of it; None: each of its rows is one, or nobody could count in time."""
    found = None if table.view is not None else observed(table, asking)
    if found is None:
        return None
    counted = asking.settled(lines(Search(table=table), found).count(), table, seconds=PATIENCE)
    return None if counted is None else int(counted.column(0)[0].as_py())


def lines(search: Search, found: Observed) -> Search:
    """Return the search of one row for each observation, of the rows that a search finds."""
    where, table = search.where(), search.table
    key = ref(table.primary[0])
    first = tree.SelectItem(tree.Function("MIN", (key,)), tree.Ident("line"))
    named = tree.IsNull(ref(found.columns[0]), negated=True) if found.unnamed else None
    each = tree.Select(
        (first,), search.source(), where=tree.conjunction(where, named), group_by=tuple(map(ref, found.columns))
    )
    test: tree.Expr = tree.In(key, tree.Subquery(tree.Query(each)))
    if found.unnamed:
        alone = tree.conjunction(where, tree.IsNull(ref(found.columns[0])))
        test = tree.Or((test, alone if alone is not None else test))
    return search.having(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", every=None)


def files(page: Page, search: Search, found: Observed, asking: Asking, also: Sequence[str] = ()) -> list[list[File]]:
    """List for each line of a page the files of its observation, of the rows that `search` finds; nothing where nobody could say in time.

    Parameters
    ----------
    page
        Lines; their columns may be any.
    search
        As it was before rows became lines.
    also
        Columns whose values are asked for, too.
    """
    if not page.keys:
        return []
    table = search.table
    try:
        keyed = asking.table(
            cart.marked(Search(table=table), page.keys).query(columns=[*table.primary, *found.columns])
        )
        names = keyed.column(len(table.primary)).to_pylist()
        wanted = list(dict.fromkeys(name for name in names if name is not None))
        listed = [
            *dict.fromkeys(
                [*table.primary, *found.columns, *found.words, *_names(found.link, found.size, found.picture), *also]
            )
        ]
        among = tree.In(ref(found.columns[0]), tuple(map(tree.Literal, wanted))) if wanted else None
        items = tuple(tree.SelectItem(ref(name)) for name in listed)
        where = tree.conjunction(search.where(), among)
        order = (tree.OrderItem(ref(table.primary[0])),)
        rows = (
            asking.table(tree.Query(tree.Select(items, search.source(), where=where), order_by=order), most=LISTED)
            if among is not None
            else keyed.slice(0, 0)
        )
    except HvenError:  # the lines themselves are there
        return [[] for _ in page.keys]
    groups: dict[tuple[object, ...], list[tuple[str, dict[str, object]]]] = {}
    for key, row in zip(keys_of(rows, table.primary) if rows.num_rows else (), rows.to_pylist(), strict=True):
        groups.setdefault(tuple(row[name] for name in found.columns), []).append((key, row))
    of = {
        key: tuple(row[name] for name in found.columns)
        for key, row in zip(keys_of(keyed, table.primary), keyed.to_pylist(), strict=True)
    }
    return [_told(groups.get(of.get(key, ()), []), found, also) for key in page.keys]


def file_of(row: Mapping[str, object], table: Table) -> File | None:
    """Return the file of one row, by all of its columns; None: it has none whose address is known."""
    size = cart.size_of(table)
    for lead in list_file_columns(table):
        address = str(row.get(lead.name) or "")
        if address.startswith(WEB) and (lead.name.lower() in FIRST or "meta.file" in (lead.ucd or "")):
            return File(key="", address=address, word="", size=_bytes(row, size))
    return None


def _told(group: Sequence[tuple[str, dict[str, object]]], found: Observed, names: Sequence[str]) -> list[File]:
    """Tell the files of one observation apart by the first word that does so: of a column, else the ends of their names."""
    links = ["" if found.link is None else str(row[found.link.name] or "") for _, row in group]
    endings = [
        ending[1].lower() if (ending := ENDING.search(split_address_or_none(link).path)) else "" for link in links
    ]
    choices = [[str(row[name] or "") for _, row in group] for name in found.words]
    choices.insert(1, endings)
    words = next(
        (one for one in choices if len(set(one)) == len(group) and all(0 < len(word) <= SHORT for word in one)), None
    )
    words = words or [ending or str(at + 1) for at, ending in enumerate(endings)]
    return [
        File(
            key=key,
            address=link if link.startswith(WEB) else "",
            word=word,
            size=_bytes(row, found.size),
            picture="" if found.picture is None else str(row[found.picture.name] or ""),
            values=tuple(row[name] for name in names),
        )
        for (key, row), link, word in zip(group, links, words, strict=True)
    ]


def _bytes(row: Mapping[str, object], size: Column | None) -> int | None:
    value = None if size is None else row[size.name]
    return (
        round(float(value) * units.factor(size.unit, "byte"))
        if size is not None and isinstance(value, int | float)
        else None
    )


def _names(*columns: Column | None) -> list[str]:
    return [column.name for column in columns if column is not None]

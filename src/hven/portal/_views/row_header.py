"""The FITS header behind a row: of a file that its collection publishes, named in the row by its address, its path or its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from hven.adql import tree
from hven.model.errors import HvenError
from hven.model.table import FILES
from hven.portal._explore.search import Search, ref
from hven.services import filed
from hven.services.face import Surroundings
from hven.sources.cards import headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.model.table import Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.rows import Page
    from hven.sources.cards import Header

ALIKE = 100  # files that a name may stand for, before one looks closer
NAMED = 6  # texts of a row that may name a file
FITS = re.compile(r"\.(?:fits|fit|fts)(?:\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A file and its headers; `address` is where everybody gets it."""

    path: str
    address: str
    headers: tuple[Header, ...]


def behind(row: Page, table: Table, asking: Asking, tables: Sequence[Table]) -> Behind | None:
    """Read the header of the file that a row is about; None: the row names none that this reader may take, or it is no FITS file now.

    Parameters
    ----------
    row
        One row with all of its columns.
    tables
        What the reader may know of: the collection's table of files is looked for there, and asked as every table is.
    """
    words = _words(row) if row.rows.num_rows else []
    files = next((one for one in tables if one.schema == table.schema and one.utype == FILES), None)
    # a list may be private whose files are not: then only whole paths say which one is meant
    paths = [one for one in words if FITS.search(one)] if files is None else _listed(files, words, asking)
    if not paths:
        return None
    around = Surroundings.of(asking.site, asking.who, asking.policies)
    try:
        found = filed.asked(around, asking.who, table.schema, paths)  # a header is of the file, too
        (path,) = {*found.rows, *found.refused}
        place = filed.opened_at(around, asking.who, table.schema, found.one(path))
        read = tuple(headers(cast("Path", place)))  # of which it asks what both have
    except (HvenError, OSError, EOFError, ValueError):
        return None
    found.note("header seen", path)
    return Behind(path=path, address=str(found.rows[path]["url"] or ""), headers=read)


def _listed(files: Table, words: Sequence[str], asking: Asking) -> list[str]:
    """Return the paths of FITS files that have one of the words as path, address or name."""
    if not words:
        return []
    tests: list[tree.Expr] = [
        tree.Compare("=", ref(name), tree.Literal(word)) for word in words for name in ("path", "url")
    ]
    # a name may have signs that LIKE understands: what only looks alike is left out below
    tests += [tree.Like(ref("path"), tree.Literal(f"%/{word.replace('%', '_')}")) for word in words if "/" not in word]
    items = tuple(tree.SelectItem(ref(name)) for name in ("path", "url"))
    source, top = Search(table=files).source(), tree.Literal(ALIKE)
    found = asking.table(tree.Query(tree.Select(items, source, where=tree.Or(tuple(tests)), top=top)))
    return [
        path
        for path, url in zip(*(one.to_pylist() for one in found.columns), strict=True)
        if FITS.search(path) and {path, str(url), PurePosixPath(path).name} & set(words)
    ]


def _words(row: Page) -> list[str]:
    """Return the texts of a row that may name its file, the surest first."""
    found: list[tuple[int, str]] = []
    for column in row.columns:
        value = row.rows.column(column.name)[0].as_py() if column.type.is_string and not column.type.is_array else None
        if not value or len(value) > 500:
            continue
        ucd = (column.ucd or "").lower()
        if "meta.preview" in ucd:
            continue
        sure = 0 if "meta.ref.url" in ucd or column.name.lower() == "access_url" else 1 if "meta.file" in ucd else 2
        if sure < 2 or FITS.search(value):
            found.append((sure, value.strip()))
    words = [word for _, word in sorted(found, key=lambda pair: pair[0])]
    names = [PurePosixPath(word.partition("?")[0]).name for word in words if "://" not in word]
    return list(dict.fromkeys([*words, *(name for name in names if name)]))[:NAMED]

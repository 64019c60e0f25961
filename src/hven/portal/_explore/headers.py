"""The FITS header behind a row: of a file that its collection publishes, named in the row by its address, its path or its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.model.errors import HvenError
from hven.model.table import FILES, rooted
from hven.portal._explore.search import Search, ref
from hven.site.auth import looks
from hven.sources.cards import headers

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def behind(row: Page, table: Table, asking: Asking, tables: Sequence[Table], collections: Path) -> Behind | None:
    """Read the header of the file that a row is about; None: the collection publishes none that the row names, or it is no FITS file now.

    Parameters
    ----------
    row
        One row with all of its columns.
    tables
        What the reader may know of: the collection's table of files is looked for there, and asked as every table is.
    collections
        The directory of all collections.
    """
    files = next((one for one in tables if one.schema == table.schema and one.utype == FILES), None)
    if files is None or not row.rows.num_rows:
        return None
    words = _words(row)
    if not words:
        return None
    tests: list[tree.Expr] = [
        tree.Compare("=", ref(name), tree.Literal(word)) for word in words for name in ("path", "url")
    ]
    # a name may have signs that LIKE understands: what only looks alike is left out below
    tests += [tree.Like(ref("path"), tree.Literal(f"%/{word.replace('%', '_')}")) for word in words if "/" not in word]
    items = tuple(tree.SelectItem(ref(name)) for name in ("path", "url", "bytes"))
    found = asking.table(
        tree.Query(
            tree.Select(items, Search(table=files).source(), where=tree.Or(tuple(tests)), top=tree.Literal(ALIKE))
        )
    )
    rows = [
        one
        for one in found.to_pylist()
        if FITS.search(str(one["path"]))
        and {str(one["path"]), str(one["url"]), PurePosixPath(one["path"]).name} & set(words)
    ]
    if len({one["path"] for one in rows}) != 1:
        return None
    if files.rights is not None and files.rights.locked(asking.who, {"path": rows[0]["path"]}) is not None:
        return None  # a header is of the file, too
    kept, below = rooted(str(rows[0]["path"]), files.roots)
    if kept.scheme is not None:
        return None  # on another server
    root = (collections / table.schema / Path(kept.address).expanduser()).resolve()
    place = (root / below).resolve()
    try:
        if not place.is_relative_to(root) or place.stat().st_size != rows[0]["bytes"]:
            return None  # it was changed since it was published
        read = Behind(path=str(rows[0]["path"]), address=str(rows[0]["url"] or ""), headers=tuple(headers(place)))
    except (HvenError, OSError, EOFError, ValueError):
        return None
    guarded = asking.holdings.guarded
    named = [one for one in guarded if one.schema == table.schema and one.policy and one.policy.path]
    looks.looked(asking.site.store, asking.who, "header seen", read.path, files, named, asking.policies)
    return read


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

"""The FITS header behind a row.

Of a file that its collection publishes, named in the row by its address, its path or its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from hven.adql import syntax_tree
from hven.model.errors import HvenError
from hven.model.table import FILES_UTYPE
from hven.portal._explore.search import TableSearch, build_column_ref
from hven.services import collection_files
from hven.services.face import ServiceContext
from hven.sources.fits_headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.model.table import Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._explore.row_pages import RowPage
    from hven.sources.fits_headers import HduHeader

MAX_MATCHING_FILES = 100  # files that a name may stand for, before one looks closer
MAX_NAMING_TEXTS = 6  # texts of a row that may name a file
FITS_EXTENSION_PATTERN = re.compile(r"\.(?:fits|fit|fts)(?:\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFileHeader:
    """A file and its headers; `address` is where everybody gets it."""

    path: str
    address: str
    headers: tuple[HduHeader, ...]


def read_row_header(row: RowPage, table: Table, runner: QueryRunner, tables: Sequence[Table]) -> RowFileHeader | None:
    """Read the header of the file that a row is about; None.

    The row names none that this reader may take, or it is no FITS file now.

    Parameters
    ----------
    row
        One row with all of its columns.
    tables
        What the reader may know of: the collection's table of files is looked for there, and asked as every table is.
    """
    if row.rows.num_rows:
        naming_texts = _list_naming_texts(row)
    else:
        naming_texts = []
    files = next(
        (candidate for candidate in tables if candidate.schema == table.schema and candidate.utype == FILES_UTYPE), None
    )
    # a list may be private whose files are not: then only whole paths say which one is meant
    if files is None:
        paths = [candidate for candidate in naming_texts if FITS_EXTENSION_PATTERN.search(candidate)]
    else:
        paths = _find_fits_paths(files, naming_texts, runner)
    if not paths:
        return None
    context = ServiceContext.create_for_principal(runner.site, runner.principal, runner.policies)
    try:
        file_access = collection_files.find_files(
            context, runner.principal, table.schema, paths
        )  # a header is of the file, too
        (path,) = {*file_access.rows, *file_access.refused}
        file_path = collection_files.open_file_place(context, runner.principal, table.schema, file_access.get_row(path))
        file_headers = tuple(read_headers(cast("Path", file_path)))  # of which it asks what both have
    except (HvenError, OSError, EOFError, ValueError):
        return None
    file_access.record_access("header seen", path)
    address = str(file_access.rows[path]["url"] or "")
    return RowFileHeader(path=path, address=address, headers=file_headers)


def _find_fits_paths(files: Table, naming_texts: Sequence[str], runner: QueryRunner) -> list[str]:
    """Return the paths of FITS files that have one of the words as path, address or name."""
    if not naming_texts:
        return []
    conditions: list[syntax_tree.Expr] = [
        syntax_tree.Comparison("=", build_column_ref(name), syntax_tree.Literal(word))
        for word in naming_texts
        for name in ("path", "url")
    ]
    # a name may have signs that LIKE understands: what only looks alike is left out below
    conditions += [
        syntax_tree.LikePredicate(build_column_ref("path"), syntax_tree.Literal(f"%/{word.replace('%', '_')}"))
        for word in naming_texts
        if "/" not in word
    ]
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in ("path", "url"))
    source = TableSearch(table=files).build_source()
    top = syntax_tree.Literal(MAX_MATCHING_FILES)
    where = syntax_tree.Disjunction(tuple(conditions))
    file_rows = runner.fetch_table(syntax_tree.Query(syntax_tree.Select(items, source, where=where, top=top)))
    return [
        path
        for path, url in zip(*(column_values.to_pylist() for column_values in file_rows.columns), strict=True)
        if FITS_EXTENSION_PATTERN.search(path) and {path, str(url), PurePosixPath(path).name} & set(naming_texts)
    ]


def _list_naming_texts(row: RowPage) -> list[str]:
    """Return the texts of a row that may name its file, the surest first."""
    ranked_texts: list[tuple[int, str]] = []
    for column in row.columns:
        if column.type.is_string and not column.type.is_array:
            value = row.rows.column(column.name)[0].as_py()
        else:
            value = None
        if not value or len(value) > 500:
            continue
        ucd = (column.ucd or "").lower()
        if "meta.preview" in ucd:
            continue
        if "meta.ref.url" in ucd or column.name.lower() == "access_url":
            rank = 0
        elif "meta.file" in ucd:
            rank = 1
        else:
            rank = 2
        if rank < 2 or FITS_EXTENSION_PATTERN.search(value):
            ranked_texts.append((rank, value.strip()))
    words = [word for _, word in sorted(ranked_texts, key=lambda pair: pair[0])]
    names = [PurePosixPath(word.partition("?")[0]).name for word in words if "://" not in word]
    return list(dict.fromkeys([*words, *(name for name in names if name)]))[:MAX_NAMING_TEXTS]

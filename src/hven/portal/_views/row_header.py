"""Read the FITS header of the file of a row, which the row names by its address, its path or its name."""

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

MAX_MATCHING_FILES = 100  # files with a matching name that are checked
MAX_NAMING_TEXTS = 6  # texts of a row that may name a file
FITS_EXTENSION_PATTERN = re.compile(r"\.(?:fits|fit|fts)(?:\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFileHeader:
    """A file and its headers; `address` is its public address."""

    path: str
    address: str
    headers: tuple[HduHeader, ...]


def read_row_fits_header_and_record_access(
    row: RowPage, table: Table, runner: QueryRunner, tables: Sequence[Table]
) -> RowFileHeader | None:
    """Read the header of the file of a row.

    Return None if the row names no file that the reader may access, or if the file is no FITS file.

    Parameters
    ----------
    row
        One row with all of its columns.
    tables
        The tables that the reader may see, among them the collection's table of files.
    """
    naming_texts = []
    if row.rows.num_rows:
        naming_texts = _list_file_name_candidates(row)
    files = None
    for candidate in tables:
        if candidate.schema == table.schema and candidate.utype == FILES_UTYPE:
            files = candidate
            break
    # if the table of files is private but the files are not, only whole paths identify a file
    if files is None:
        paths = [candidate for candidate in naming_texts if FITS_EXTENSION_PATTERN.search(candidate)]
    else:
        paths = _find_fits_paths(files, naming_texts, runner)
    if not paths:
        return None
    context = ServiceContext.create_for_principal(runner.site, runner.principal, runner.policies)
    try:
        # access to a header needs access to the file
        file_access = collection_files.find_files(context, runner.principal, table.schema, paths)
        (path,) = {*file_access.rows, *file_access.refused}
        file_row = file_access.get_row
        file_path = collection_files.open_file_place(context, runner.principal, table.schema, file_row(path))
        file_headers = tuple(read_headers(cast("Path", file_path)))  # remote places have the same methods
    except (HvenError, OSError, EOFError, ValueError):
        return None
    file_access.record_access("header seen", path)
    address = str(file_access.rows[path]["url"] or "")
    return RowFileHeader(path=path, address=address, headers=file_headers)


def _find_fits_paths(files: Table, naming_texts: Sequence[str], runner: QueryRunner) -> list[str]:
    """Return the paths of the FITS files with one of the texts as path, address or name."""
    if not naming_texts:
        return []
    conditions: list[syntax_tree.Expr] = [
        syntax_tree.Comparison("=", build_column_ref(name), syntax_tree.Literal(word))
        for word in naming_texts
        for name in ("path", "url")
    ]
    for word in naming_texts:
        if "/" not in word:
            # names may contain wildcards of LIKE: false matches are removed below
            pattern = syntax_tree.Literal(f"%/{word.replace('%', '_')}")
            conditions.append(syntax_tree.LikePredicate(build_column_ref("path"), pattern))
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in ("path", "url"))
    source = TableSearch(table=files).build_from_item()
    top = syntax_tree.Literal(MAX_MATCHING_FILES)
    where = syntax_tree.Disjunction(tuple(conditions))
    file_rows = runner.fetch_table(syntax_tree.Query(syntax_tree.Select(items, source, where=where, top=top)))
    paths = []
    paths_and_urls = zip(*(column_values.to_pylist() for column_values in file_rows.columns), strict=True)
    for path, url in paths_and_urls:
        file_names = {path, str(url), PurePosixPath(path).name}
        if FITS_EXTENSION_PATTERN.search(path) and file_names & set(naming_texts):
            paths.append(path)
    return paths


def _list_file_name_candidates(row: RowPage) -> list[str]:
    """Return the texts of a row that may name its file, the most likely first."""
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
    distinct_words = dict.fromkeys([*words, *filter(None, names)])
    return list(distinct_words)[:MAX_NAMING_TEXTS]

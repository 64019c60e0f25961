"""Download a catalogue of VizieR: the files that its ReadMe lists, or else the rows of its tables."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import orjson

from hven.model import plugins
from hven.model.errors import ParamError, SourceError, TooLargeError, UserError, format_message
from hven.plugins.submissions.file_checkers import MAX_SHEET_BYTES, MAX_SHEET_ROWS
from hven.plugins.submissions.staging import SentFile, extract_file_base_name
from hven.sources import SourceContext, http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_README_BYTES = 4 << 20
MAX_LISTING_BYTES = 4 << 20
MAX_CATALOGUE_FILES = 1_000
README_NAME = "ReadMe"
CATALOGUE_NAME, BIBCODE_NAME = "VIZIER", "BIBCODE"  # of values that all rows of a catalogue have
# a journal, a volume and a page; or one of the other categories of VizieR and a number
_CATALOGUE_PATTERN = re.compile(
    r"J/[A-Za-z+&]{1,12}/[A-Za-z0-9.+-]{1,12}(?:/[A-Za-z0-9.+-]{1,16})?|(?:[IVX]{1,5}|B)/[A-Za-z0-9]{1,16}", re.ASCII
)
_LINK_PATTERN = re.compile(r"""<a\s[^>]{0,200}?href\s*=\s*["']([^"'?#]{1,500})["']""", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueBudget:
    """What the download of a catalogue may use.

    Attributes
    ----------
    byte_limit
        Largest number of bytes of all files together.
    end_time
        When it must have ended, by `time.monotonic`.
    allow_private
        Whether addresses of the private network are allowed.
    is_cancelled
        Whether the download must stop.
    """

    byte_limit: int
    end_time: float
    allow_private: bool
    is_cancelled: Callable[[], bool]

    def read_remaining_seconds(self) -> float:
        """Return the seconds that are left.

        Raises
        ------
        UserError
            There are none.
        """
        seconds = self.end_time - time.monotonic()
        if seconds <= 0 or self.is_cancelled():
            raise UserError(
                "fetching the catalogue takes too long", remedy="download its files yourself, and submit them"
            )
        return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class VizierCatalogue:
    """A catalogue that was downloaded.

    Attributes
    ----------
    files
        Its files; without any, one file with the rows of each of its tables.
    values
        Values of all its rows: its name, and the bibcode of its publication.
    """

    files: list[SentFile] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def parse_catalogue_name(text: str) -> str:
    """Return the name of a catalogue of VizieR.

    Parameters
    ----------
    text
        What the user wrote: ``J/A+A/617/A83``.

    Raises
    ------
    ParamError
        It is no such name.
    """
    name = text.strip().strip("/")
    if not _CATALOGUE_PATTERN.fullmatch(name) or ".." in name:
        message = format_message("{name!r:.80} is not the name of a catalogue of VizieR", text)
        raise ParamError(message, name="VIZIER", remedy="write a name such as J/A+A/617/A83")
    return name


def download_catalogue(
    name: str, address: str, directory: Path, extensions: tuple[str, ...], budget: CatalogueBudget
) -> VizierCatalogue:
    """Download the files of a catalogue that end in some way; if it has none, the rows of its tables.

    Parameters
    ----------
    name
        Name of the catalogue.
    address
        Address of the directories of catalogues.
    directory
        Directory for the files, which is empty.
    extensions
        Possible ends of names.
    budget
        What may be used.

    Raises
    ------
    UserError, ServiceError
        As `http_client.download_file` does; or the catalogue has neither such files nor tables, or too much of them.
    """
    catalogue_address = f"{address.rstrip('/')}/{quote(name, safe='/+')}"
    downloads = _Downloads(catalogue_address, directory, budget)
    readme_path = downloads.download_file(README_NAME, MAX_README_BYTES)
    fixed: Any = plugins.load_plugin("sources", "fixed")
    readme = fixed.read_catalogue_readme(readme_path)
    values = {CATALOGUE_NAME: name}
    if readme.bibcode:
        values[BIBCODE_NAME] = readme.bibcode
    file_names: list[str] = []
    for listed_name in readme.summaries_by_file:
        file_names += downloads.find_files(listed_name, extensions)
    file_names = list(dict.fromkeys(file_names))
    if len(file_names) > MAX_CATALOGUE_FILES:
        message = format_message("the catalogue has more than {most:,} files", MAX_CATALOGUE_FILES)
        raise TooLargeError(message, remedy="download some of its files yourself, and submit them")
    files = [_name_file(downloads.download_file(file_name, budget.byte_limit)) for file_name in file_names]
    if not files:
        for table_name in readme.fields_by_table:
            files += _save_table_as_json_file(fixed, table_name, readme_path, downloads)
    if not files:
        message = format_message("the catalogue {name} has no files or tables that this table accepts", name)
        raise SourceError(message, remedy="see the files of the catalogue at VizieR")
    return VizierCatalogue(files=files, values=values)


def _name_file(path: Path) -> SentFile:
    return SentFile(extract_file_base_name(path.name), path)


def _save_table_as_json_file(
    fixed: Any, table_name: str, readme_path: Path, downloads: _Downloads
) -> Iterator[SentFile]:
    """Read the rows of a table of a catalogue into a file of their own."""
    if "*" in table_name:
        return
    path = downloads.download_file(table_name, MAX_SHEET_BYTES)
    options = fixed.Options.model_validate({"files": str(path), "readme": str(readme_path), "table": table_name})
    source = fixed.open(options, SourceContext(directory=path.parent))
    rows: list[dict[str, Any]] = []
    for batch in source.read_batches([column.name for column in source.list_columns()]):
        rows += batch.to_pylist()
        if len(rows) > MAX_SHEET_ROWS:
            message = format_message("a table may have at most {most:,} rows", MAX_SHEET_ROWS)
            raise TooLargeError(message, remedy="ask the operators of the site to add the catalogue as a collection")
    if rows:
        sheet_path = path.with_name(f"{extract_file_base_name(table_name)}.json")
        sheet_path.write_bytes(orjson.dumps(rows, default=str))
        yield _name_file(sheet_path)


class _Downloads:
    """The downloads of one catalogue, within its budget."""

    def __init__(self, address: str, directory: Path, budget: CatalogueBudget) -> None:
        self._address = address
        self._directory = directory
        self._budget = budget
        self._count = 0
        self._byte_count = 0

    def download_file(self, name: str, byte_limit: int) -> Path:
        """Download a file of the catalogue into a folder of its own."""
        self._count += 1
        folder = self._directory / str(self._count)
        path = http_client.download_file(
            f"{self._address}/{quote(name, safe='/+')}",
            folder,
            byte_limit=max(0, min(byte_limit, self._budget.byte_limit - self._byte_count)),
            total_timeout_seconds=self._budget.read_remaining_seconds(),
            allow_private=self._budget.allow_private,
        )
        self._byte_count += path.stat().st_size
        named_path = folder / extract_file_base_name(name)  # servers and redirects may name it otherwise
        return path.rename(named_path)

    def find_files(self, listed_name: str, extensions: tuple[str, ...]) -> list[str]:
        """Find the files that a line of the ReadMe stands for: one, those of a folder, or those of a pattern."""
        if ".." in listed_name or listed_name.startswith("/"):
            return []
        folder, _, pattern = listed_name.rpartition("/")
        if pattern and "*" not in pattern:
            return [listed_name] if listed_name.lower().endswith(extensions) else []
        listing = http_client.fetch_bytes(
            f"{self._address}/{quote(folder, safe='/+')}/" if folder else f"{self._address}/",
            byte_limit=MAX_LISTING_BYTES,
            total_timeout_seconds=self._budget.read_remaining_seconds(),
            allow_private=self._budget.allow_private,
        )
        names = []
        for match in _LINK_PATTERN.finditer(listing.decode("utf-8", "replace")):
            name = unquote(match[1])
            is_file_here = "/" not in name and not name.startswith(".") and fnmatchcase(name, pattern or "*")
            if is_file_here and name.lower().endswith(extensions):
                names.append(f"{folder}/{name}" if folder else name)
        return names

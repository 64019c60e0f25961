"""Copy the files that rows of the old service name, so that it can be switched off."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model import plugins, split_address
from hven.model.errors import HvenError, StorageError
from hven.plugins.migration.service_conversion import write_alias_lines
from hven.plugins.service_migration.service_drafts import create_source_context
from hven.plugins.service_migration.service_survey import build_server_url
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.model.settings import Settings
    from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable

FILES_DIRECTORY = "files"
URL_COLUMNS = ("access_url", "thumbnail_url", "accref", "file_url", "download", "get")
MAX_FILE_BYTES = 64 << 30
MIN_FREE_BYTES = 1 << 30  # the copy stops before the disk is full
MAX_LISTED_FAILURES = 20
LOCKED_STATUSES = {401, 403}
MAX_NAME_BYTES = 255
DOWNLOAD_PREFIX = ".download-"
MAX_DOWNLOAD_SECONDS = 86_400.0  # after which the directory of a download is that of a process that was killed


@dataclass(slots=True, kw_only=True)
class FileCopyReport:
    """What was copied.

    Attributes
    ----------
    counts
        Number of files by what happened: ``copied``, ``present``, ``elsewhere``, ``computed``, ``locked``,
        ``failed``; an address with parameters is that of a program, whose answer is no file.
    failures
        The first addresses that could not be copied, with the reason.
    alias_lines
        Lines for hven.toml that keep the addresses in rows valid.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    alias_lines: list[str] = field(default_factory=list)


class FileCopier:
    """Copies files of a service into directories of collections; a second run continues.

    Parameters
    ----------
    settings
        Settings of the site.
    survey
        The service.
    report_progress
        Called with the number of files so far.
    """

    def __init__(self, settings: Settings, survey: ServiceSurvey, report_progress: Callable[[int], None]) -> None:
        self._settings = settings
        self._report_progress = report_progress
        self._survey = survey
        self._root = build_server_url(survey.url)
        self._context = create_source_context(settings)
        self.report = FileCopyReport()

    def copy_files(self, collections: Mapping[str, str]) -> FileCopyReport:
        """Copy the files of all tables.

        Parameters
        ----------
        collections
            Schema of the service -> name of the collection.

        Raises
        ------
        StorageError
            The disk is nearly full. The files so far stay.
        SourceError
            The addresses cannot be read.
        """
        places_by_collection: dict[str, set[str]] = {}
        for table in self._survey.readable_tables:
            collection = collections.get(table.schema or "main")
            if collection is None or table.source.get("kind") != "tap":
                continue
            places = places_by_collection.setdefault(collection, set())
            directory = self._settings.collections_directory / collection
            _remove_old_downloads(directory)
            for url in self._list_urls(table):
                path = self._copy_file(url, directory)
                if path is not None:
                    folder = os.path.dirname(path)  # noqa: PTH120  (an address)
                    places.add(path if folder == "/" else f"{folder}/")
                self._report_progress(self.report.counts.total())
        for collection, places in places_by_collection.items():
            self._add_aliases(collection, sorted(places))
        return self.report

    def _list_urls(self, table: SurveyedTable) -> Iterator[str]:
        """Yield the addresses in the rows of a table, each once as far as pages tell."""
        names = [name for name in table.columns if name.lower() in URL_COLUMNS]
        if not names:
            return
        kind: Any = plugins.load_plugin("sources", "tap")
        source = kind.open(kind.Options(**{k: v for k, v in table.source.items() if k != "kind"}), self._context)
        for batch in source.read_batches(names):
            values = (column.drop_null().unique().to_pylist() for column in batch.columns)
            yield from dict.fromkeys(str(value) for value in itertools.chain.from_iterable(values))

    def _copy_file(self, url: str, directory: Path) -> str | None:
        """Copy a file unless it is there; return the path in its address, or None."""
        if not url.startswith(f"{self._root}/"):
            self.report.counts["elsewhere"] += 1
            return None
        if "?" in url:
            self._note_failure("computed", f"{url}: its parameters cannot be part of the path of a file")
            return None
        address_path = split_address(url).path
        relative_path = build_safe_path(address_path)
        if relative_path is None:
            self._note_failure("failed", f"{url}: its path cannot be the path of a file")
            return None
        target = directory / FILES_DIRECTORY / relative_path
        if target.is_file():
            self.report.counts["present"] += 1
            return address_path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            has_space = shutil.disk_usage(target.parent).free >= MIN_FREE_BYTES
            is_copied = has_space and self._download_file(url, directory, target)
        except (HvenError, OSError) as error:
            if isinstance(error, HvenError):
                reason = error.message
            else:
                reason = f"it cannot be written to {target} ({error})"
            self._note_failure("failed", f"{url}: {reason}")
            return None
        if not has_space:
            raise StorageError(
                f"less than {MIN_FREE_BYTES >> 30} GiB are free in {directory}",
                remedy="free some space, and run the command again; it continues with the next file",
            )
        return address_path if is_copied else None

    def _download_file(self, url: str, directory: Path, target: Path) -> bool:
        """Download a file; False: access is denied."""
        answer = http_client.send_request_once("HEAD", url, allow_private=self._settings.allow_private)
        if answer.status in LOCKED_STATUSES:
            self._note_failure("locked", f"{url}: access is denied ({answer.status})")
            return False
        # the server chooses the name of the download, which must not replace another copy
        with tempfile.TemporaryDirectory(dir=directory, prefix=DOWNLOAD_PREFIX) as download_directory:
            path = http_client.download_file(
                url, Path(download_directory), byte_limit=MAX_FILE_BYTES, allow_private=self._settings.allow_private
            )
            path.replace(target)
        self.report.counts["copied"] += 1
        return True

    def _note_failure(self, kind: str, text: str) -> None:
        self.report.counts[kind] += 1
        if len(self.report.failures) < MAX_LISTED_FAILURES:
            self.report.failures.append(text)

    def _add_aliases(self, collection: str, places: list[str]) -> None:
        """Add an alias for each first folder of the old addresses: one for all of them would be that of the site.

        Parameters
        ----------
        collection
            Name of the collection.
        places
            Folders, with ``/`` at their ends, and files that are in none.
        """
        folders: dict[str, list[str]] = {}
        for path in places:
            first_folder, separator, _ = path.lstrip("/").partition("/")
            if separator:
                folders.setdefault(first_folder, []).append(path.rstrip("/"))
            else:
                target = f"/collections/{collection}/files/{FILES_DIRECTORY}{unquote(path)}"
                self.report.alias_lines += write_alias_lines(unquote(path), target)
        for directories in folders.values():
            common = unquote(os.path.commonpath(directories))
            target = f"/collections/{collection}/files/{FILES_DIRECTORY}{common}/*"
            self.report.alias_lines += write_alias_lines(f"{common}/*", target)


def _remove_old_downloads(directory: Path) -> None:
    """Delete what processes that were killed have left of their downloads."""
    oldest_time = time.time() - MAX_DOWNLOAD_SECONDS
    for path in directory.glob(f"{DOWNLOAD_PREFIX}*"):
        if path.stat().st_mtime < oldest_time:
            shutil.rmtree(path, ignore_errors=True)


def build_safe_path(address_path: str) -> PurePosixPath | None:
    """Build the relative path of a copy from the path of an address; None: it would leave its directory.

    Parameters
    ----------
    address_path
        Path of the address, perhaps with percent-encoded characters.
    """
    text = unquote(address_path).lstrip("/")
    parts = text.split("/")
    is_plain = text.isprintable() and all(
        part and not part.startswith(".") and len(part.encode()) <= MAX_NAME_BYTES and "\\" not in part
        for part in parts
    )
    if is_plain:
        return PurePosixPath(text)
    return None

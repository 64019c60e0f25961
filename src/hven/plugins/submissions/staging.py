"""The files of open submissions, which only their authors see: unpacked, named by their SHA-256, and later published.

They are in ``var/submissions/NUMBER``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile, is_zipfile

from hven.model.errors import ParamError, SourceError, StorageError, format_message
from hven.plugins.push.uploaded_archives import unpack_zip_archive
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from hven.model.settings import Settings
    from hven.site import Site

STAGING_FOLDER = "submissions"  # in `var`
MAX_NAME_BYTES = 200  # of a file
SHOWN_NAME_CHARACTERS = 20  # of a name that is not valid
DOWNLOAD_TIMEOUT_SECONDS = 300.0
_COPY_CHUNK_BYTES = 1 << 20
_OUTER_PATH_PATTERN = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that a user sent: its name without folders, and where it is now.

    Attributes
    ----------
    name, path
        Its name, and its place.
    fault
        Why nobody can read it, as an archive or by its name; empty: nothing is known against it.
    """

    name: str
    path: Path
    fault: str = ""


def _build_storage_error(error: OSError) -> StorageError:
    message = format_message("the file could not be saved: {reason}", error.strerror)
    return StorageError(message, remedy="try again later")


class StagingArea:
    """The staged files of one submission.

    Parameters
    ----------
    site
        The site.
    number
        Number of the submission.
    """

    def __init__(self, site: Site, number: int) -> None:
        self._directory = site.settings.var_directory / STAGING_FOLDER / str(number)
        self._new_digests: set[str] = set()

    def find_path(self, sha256: str, name: str) -> Path:
        """Return the path of a staged file."""
        return self._directory / sha256 / name

    def stage_file(self, sent_file: SentFile, sha256: str) -> Path:
        """Move a file here, and return its path."""
        path = self.find_path(sha256, sent_file.name)
        self._new_digests.add(sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(sent_file.path, path)
        except OSError as error:
            raise _build_storage_error(error) from error
        return path

    def remove_file(self, sha256: str) -> None:
        """Delete a staged file."""
        shutil.rmtree(self._directory / sha256, ignore_errors=True)

    def remove_new_files(self, kept_digests: Collection[str]) -> None:
        """Delete the files that this object has staged, except those with some checksums."""
        for digest in self._new_digests - {*kept_digests}:
            self.remove_file(digest)

    def remove_all(self) -> None:
        """Delete all staged files."""
        shutil.rmtree(self._directory, ignore_errors=True)


def list_staged_numbers(settings: Settings) -> list[int]:
    """List the submissions that have staged files.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    directory = settings.var_directory / STAGING_FOLDER
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return [int(name) for name in names if name.isdigit()]


def extract_file_base_name(name: str) -> str:
    """Return the name of a sent file without folders.

    Parameters
    ----------
    name
        The name that the client or an archive gives.

    Raises
    ------
    ParamError
        It is not a name of a file.
    """
    last_part = name.replace("\\", "/").rpartition("/")[2].strip()
    if (
        not last_part
        or last_part.startswith(".")
        or not last_part.isprintable()
        or len(last_part.encode()) > MAX_NAME_BYTES
    ):
        message = format_message("{name!r:.120} is not a valid file name", name)
        raise ParamError(message, remedy="choose a name that has at most 200 bytes and does not begin with a dot")
    return last_part


def unpack_sent_files(sent_files: Iterable[SentFile], byte_limit: int) -> Iterator[SentFile]:
    """Return the files that a user sent, with those of ZIP archives instead of the archives.

    An archive that cannot be unpacked, and a file without a valid name, have a fault and stop none of the others.

    Parameters
    ----------
    sent_files
        The files, in a directory of their own.
    byte_limit
        Largest number of unpacked bytes of all archives.

    Raises
    ------
    TooLargeError
        An archive has too many files or bytes.
    """
    for sent_file in sent_files:
        if not is_zipfile(sent_file.path):
            fault = ""
            if sent_file.name.lower().endswith(".zip"):
                fault = format_message("the archive {name!r:.120} is damaged", sent_file.name)
            yield _check_sent_name(replace(sent_file, fault=fault))
            continue
        try:
            members = unpack_zip_archive(sent_file.path, byte_limit)
            link_names = _list_link_names(sent_file.path)
        except SourceError as error:
            for path in sent_file.path.parent.glob(f"{sent_file.path.name}.*"):  # unpacked before the fault
                path.unlink()
            yield _check_sent_name(replace(sent_file, fault=error.message))
            continue
        byte_limit -= sum(path.stat().st_size for _, path in members)
        for name, path in members:
            fault = ""
            if name in link_names or _OUTER_PATH_PATTERN.search(name):
                fault = format_message("{name!r:.120} is a link, or leads out of the archive", name)
            yield _check_sent_name(SentFile(name, path, fault))
        sent_file.path.unlink()


def _list_link_names(archive_path: Path) -> set[str]:
    """List the members of an archive that are symbolic links."""
    with ZipFile(archive_path) as archive:
        return {member.filename for member in archive.infolist() if stat.S_ISLNK(member.external_attr >> 16)}


def _check_sent_name(sent_file: SentFile) -> SentFile:
    """Return a file with its name without folders; with a fault and an escaped name if it is not valid."""
    try:
        return replace(sent_file, name=extract_file_base_name(sent_file.name))
    except ParamError as error:
        name = ascii(sent_file.name.replace("/", " ")[-SHOWN_NAME_CHARACTERS:])
        return replace(sent_file, name=name, fault=sent_file.fault or error.message)


def download_sent_file(url: str, directory: Path, *, byte_limit: int, allow_private: bool) -> SentFile:
    """Download a file from an address that a user gives.

    Parameters
    ----------
    url
        The address; addresses that lead into the private network are refused.
    directory
        Directory for the file.
    byte_limit
        Largest number of bytes.
    allow_private
        Whether the site allows addresses of the private network.

    Raises
    ------
    UserError, ServiceError
        As `http_client.download_file` does.
    """
    path = http_client.download_file(
        url,
        directory,
        byte_limit=byte_limit,
        total_timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS,
        allow_private=allow_private,
    )
    return SentFile(path.name, path)


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path
        The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PublishedFolder:
    """The folder of a collection that receives the files of one submission; files without rows are seen by nobody.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new_files: list[Path] = []

    def add_file(self, staged_path: Path, name: str) -> None:
        """Copy a staged file durably.

        Raises
        ------
        StorageError
            The disk is full, or may not be written.
        """
        target = self._folder / name
        unfinished = target.with_name(f".{name}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with staged_path.open("rb") as source, unfinished.open("wb") as file:
                shutil.copyfileobj(source, file, _COPY_CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            self._new_files.append(target)
            unfinished.replace(target)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise _build_storage_error(error) from error

    def sync_to_disk(self) -> None:
        """Make the names of the files durable."""
        if self._new_files:
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove_all(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def remove_files(self) -> None:
        """Delete the files again, because their rows were not published."""
        for file in self._new_files:
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

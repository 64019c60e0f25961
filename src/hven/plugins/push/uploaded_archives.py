"""Unpack a ZIP archive that a client sends, with limits on the bytes and the number of its files."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, StorageError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ARCHIVE_MEMBERS = 1000
COPY_CHUNK_BYTES = 1 << 20
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def unpack_zip_archive(archive_path: Path, byte_limit: int) -> list[tuple[str, Path]]:
    """Unpack an archive into its own directory.

    Parameters
    ----------
    archive_path
        Path of the archive.
    byte_limit
        Largest number of bytes of all files together.

    Returns
    -------
    files
        Name in the archive, and path of the unpacked file; without directories and hidden files.

    Raises
    ------
    SourceError
        The archive is damaged, locked or empty, or has a name twice.
    TooLargeError
        The archive has too many files or bytes.
    StorageError
        The disk is full.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            file_members = [member for member in archive.infolist() if not member.is_dir()]
            members = [member for member in file_members if not _is_hidden_member(member.filename)]
            if len(members) > MAX_ARCHIVE_MEMBERS:
                raise TooLargeError(
                    format_message("an archive may contain at most {most:,} files", MAX_ARCHIVE_MEMBERS),
                    remedy="send several smaller archives",
                )
            if not members:
                raise SourceError("the archive contains no files", remedy="add at least one file to the archive")
            name_counts = Counter(member.filename for member in members)
            repeated_names = [name for name, count in name_counts.items() if count > 1]
            if repeated_names:
                raise SourceError(
                    format_message("the archive contains {name!r:.120} twice", repeated_names[0]),
                    remedy="create the archive again, with each file only once",
                )
            written_members = _unpack_members(archive, members, archive_path, byte_limit)
            return [(member.filename, path) for member, path in written_members]
    except _ARCHIVE_ERRORS as error:
        raise SourceError(
            format_message("the archive cannot be unpacked: {reason}", str(error)[:120]),
            remedy="create the archive again, without a password",
        ) from error
    except OSError as error:
        raise StorageError(
            f"the request body could not be saved: {error.strerror}", remedy="try again later"
        ) from error


def _is_hidden_member(name: str) -> bool:
    """Return whether a member is one of the files that systems add to archives, or lies in a hidden directory."""
    for part in name.split("/"):
        is_hidden = part.startswith(".") and part not in {".", ".."}
        if is_hidden or part == "__MACOSX":
            return True
    return False


def _unpack_members(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], archive_path: Path, byte_limit: int
) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Write the members to files, and yield their paths; the limit applies to the bytes that are really unpacked."""
    remaining_bytes = byte_limit
    for number, member in enumerate(members):
        path = archive_path.with_name(f"{archive_path.name}.{number}")
        with archive.open(member) as packed, path.open("wb") as file:
            while part := packed.read(COPY_CHUNK_BYTES):
                remaining_bytes -= len(part)
                if remaining_bytes < 0:
                    raise TooLargeError(
                        format_message(
                            "the unpacked files of the archive exceed {most:,} bytes in total",
                            byte_limit,
                        ),
                        remedy="send several smaller archives",
                    )
                file.write(part)
        yield member, path

"""A ZIP archive that a client sends -> its files, within the bytes and the number that may be sent at once."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, StorageError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ARCHIVE_MEMBERS = 1000  # of an archive
COPY_CHUNK_BYTES = 1 << 20
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def unpack_archive(archive_path: Path, byte_limit: int) -> list[tuple[str, Path]]:
    """Unpack an archive beside itself.

    Parameters
    ----------
    archive_path
        The archive.
    byte_limit
        Bytes of all files together.

    Returns
    -------
    files
        Name in the archive, and where it lies now; directories and what systems hide in archives are left out.

    Raises
    ------
    SourceError
        It is damaged, locked, empty, or has a name twice.
    TooLargeError
        It has too many files, or too many bytes.
    StorageError
        The disk is full.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not _is_hidden_member(member.filename)
            ]
            if len(members) > MAX_ARCHIVE_MEMBERS:
                raise TooLargeError(
                    format_message("an archive has {most:,} files at most", MAX_ARCHIVE_MEMBERS),
                    remedy="send it in parts",
                )
            names = [member.filename for member in members]
            repeated_names = [name for name in names if names.count(name) > 1]
            if not names or repeated_names:
                fault = (
                    format_message("the archive has {name!r:.120} twice", repeated_names[0])
                    if repeated_names
                    else "the archive has no file"
                )
                raise SourceError(fault, remedy="pack it anew")
            return [
                (member.filename, path) for member, path in _write_members(archive, members, archive_path, byte_limit)
            ]
    except _ARCHIVE_ERRORS as error:
        raise SourceError(
            format_message("the archive cannot be unpacked: {reason}", str(error)[:120]),
            remedy="pack it anew, without a password",
        ) from error
    except OSError as error:
        raise StorageError(f"what is sent cannot be kept: {error.strerror}", remedy="try again later") from error


def _is_hidden_member(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part not in {".", ".."})


def _write_members(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], archive_path: Path, byte_limit: int
) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Write members; bytes are counted as they come, whatever the archive says of them."""
    remaining_bytes = byte_limit
    for number, member in enumerate(members):
        path = archive_path.with_name(f"{archive_path.name}.{number}")
        with archive.open(member) as packed, path.open("wb") as file:
            while part := packed.read(COPY_CHUNK_BYTES):
                remaining_bytes -= len(part)
                if remaining_bytes < 0:
                    raise TooLargeError(
                        format_message("the files of the archive have more than {most:,} bytes", byte_limit),
                        remedy="send it in parts",
                    )
                file.write(part)
        yield member, path


__all__ = ["unpack_archive"]

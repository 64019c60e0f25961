"""A ZIP archive that a client sends -> its files, within the bytes and the number that may be sent at once."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, StorageError, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMBERS = 1000  # of an archive
PART = 1 << 20
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def unpacked(body: Path, most: int) -> list[tuple[str, Path]]:
    """Unpack an archive beside itself.

    Parameters
    ----------
    body
        The archive.
    most
        Bytes of all files together.

    Returns
    -------
    files
        Name in the archive, and where it lies now; directories and what systems hide in archives are left out.

    Raises
    ------
    SourceError
        It is damaged, locked, empty, or has a name twice.
    TooLarge
        It has too many files, or too many bytes.
    StorageError
        The disk is full.
    """
    try:
        with zipfile.ZipFile(body) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and not _hidden(one.filename)]
            if len(members) > MEMBERS:
                raise TooLarge(say("an archive has {most:,} files at most", MEMBERS), remedy="send it in parts")
            names = [one.filename for one in members]
            twice = [name for name in names if names.count(name) > 1]
            if not names or twice:
                fault = say("the archive has {name!r:.120} twice", twice[0]) if twice else "the archive has no file"
                raise SourceError(fault, remedy="pack it anew")
            return [(one.filename, path) for one, path in _written(archive, members, body, most)]
    except _FAULTS as error:
        raise SourceError(
            say("the archive cannot be unpacked: {reason}", str(error)[:120]), remedy="pack it anew, without a password"
        ) from error
    except OSError as error:
        raise StorageError(f"what is sent cannot be kept: {error.strerror}", remedy="try again later") from error


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part not in {".", ".."})


def _written(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], body: Path, most: int
) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Write members; bytes are counted as they come, whatever the archive says of them."""
    left = most
    for number, one in enumerate(members):
        path = body.with_name(f"{body.name}.{number}")
        with archive.open(one) as packed, path.open("wb") as file:
            while part := packed.read(PART):
                left -= len(part)
                if left < 0:
                    raise TooLarge(
                        say("the files of the archive have more than {most:,} bytes", most), remedy="send it in parts"
                    )
                file.write(part)
        yield one, path


__all__ = ["unpacked"]

"""Replace files that operators write, such as descriptors and ``hven.toml``, whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# the directory may be closed to this account, or the file may be mounted by itself, as containers do
_IN_PLACE_ERRNOS = {errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS}


def stage_file(path: Path, data: bytes, new_mode: int | None = None) -> Path:
    """Write the next content of a file to a file beside it, which can then replace it.

    Parameters
    ----------
    path
        The file. What replaces it has its owner, its group and its permissions, as far as this account may give them.
    data
        The next content.
    new_mode
        Permissions if there is no such file yet; by default those that the process gives to new files.

    Returns
    -------
    path
        The file beside it; nothing is left of it after an error.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    staged_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with staged_path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            status = path.stat()
            # one after the other: whoever belongs to the group may give a file to it, but only root to another account
            for owner in ((-1, status.st_gid), (status.st_uid, -1)):
                with suppress(OSError):
                    os.chown(staged_path, *owner)
            staged_path.chmod(status.st_mode & 0o7777)
        elif new_mode is not None:
            staged_path.chmod(new_mode)
    except OSError:
        with suppress(OSError):
            staged_path.unlink(missing_ok=True)
        raise
    return staged_path


def replace_file(path: Path, text: str) -> None:
    """Write a file whole, or leave it as it was: a full disk must not cut off what an operator wrote.

    Parameters
    ----------
    path
        The file, for example a descriptor. It keeps its owner and permissions, and symbolic links to it remain.
    text
        Its new content.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path = path.resolve()
    data = text.encode()
    staged_path = None
    try:
        staged_path = stage_file(path, data)
        staged_path.replace(path)
    except OSError as error:
        if error.errno in _IN_PLACE_ERRNOS and path.exists():
            path.write_bytes(data)
            return
        error.filename = str(path)
        raise
    finally:
        if staged_path is not None:
            with suppress(OSError):  # it has become the file
                staged_path.unlink()

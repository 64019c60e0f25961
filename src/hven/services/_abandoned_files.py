"""Find unfinished files that dead processes left behind.

A process writes a file as ``.PROCESS_ID-..`` and renames it when it is complete.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def list_abandoned_files(directory: Path) -> Iterator[Path]:
    """Yield the unfinished files of a directory whose process is dead.

    Parameters
    ----------
    directory
        Directory in which processes write files with their number in the name.

    Yields
    ------
    path
        Path of an unfinished file.
    """
    for unfinished_path in directory.glob(".*-*"):
        process_id = unfinished_path.name[1:].partition("-")[0]
        if process_id.isdecimal() and not _is_alive(int(process_id)):
            yield unfinished_path


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True

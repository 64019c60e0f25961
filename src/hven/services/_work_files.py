"""What is made under a name of its own until it is whole: ``.PROCESS-..``.

And what processes that died have left of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def list_leftovers(directory: Path) -> Iterator[Path]:
    """Yield what lies in a directory since its process died."""
    for leftover in directory.glob(".*-*"):
        process = leftover.name[1:].partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            yield leftover


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

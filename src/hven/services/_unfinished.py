"""What is made under a name of its own until it is whole: ``.PROCESS-..``; and what processes that died have left of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def left(home: Path) -> Iterator[Path]:
    """Yield what lies in a directory since its process died."""
    for one in home.glob(".*-*"):
        process = one.name[1:].partition("-")[0]
        if process.isdecimal() and not _alive(int(process)):
            yield one


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Keep the last result of ``hven check NAME --links`` of each collection, for the morning page.

The core calls `record_link_check` (extension point ``hven.link_checks``). Nothing here sends a request.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from hven.plugins.operations.disk_forecast import get_operations_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.model.errors import Fault
    from hven.model.settings import Settings
    from hven.site import Site

LINKS_DIRECTORY = "links"
MAX_KEPT_MESSAGES = 20
MAX_MESSAGE_CHARACTERS = 500
MAX_FILE_BYTES = 100_000


class LinkCheck(NamedTuple):
    """A check of the links of a collection: its end (ISO, UTC), the number of dead links, and some of the faults."""

    time: str
    dead_count: int
    messages: Sequence[str]


def record_link_check(site: Site, collection: str, faults: Sequence[Fault]) -> None:
    """Keep the result of a check; on a disk that is full or read-only, it is lost.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection.
    faults
        A fault for each dead link.
    """
    record: dict[str, Any] = {
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dead": len(faults),
        "messages": [fault.message[:MAX_MESSAGE_CHARACTERS] for fault in faults[:MAX_KEPT_MESSAGES]],
    }
    path = _get_record_path(site.settings, collection)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new_path = path.with_suffix(f".{os.getpid()}.new")
        new_path.write_text(json.dumps(record), encoding="utf-8")
        new_path.replace(path)


def read_link_check(settings: Settings, collection: str) -> LinkCheck | None:
    """Read the last check of the links of a collection; None: there is none.

    Parameters
    ----------
    settings
        Settings of the site.
    collection
        Name of the collection.
    """
    try:
        with _get_record_path(settings, collection).open(encoding="utf-8") as file:
            record = json.loads(file.read(MAX_FILE_BYTES))
        return LinkCheck(str(record["time"]), int(record["dead"]), [str(message) for message in record["messages"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _get_record_path(settings: Settings, collection: str) -> Path:
    return get_operations_directory(settings) / LINKS_DIRECTORY / f"{quote(collection, safe='')}.json"

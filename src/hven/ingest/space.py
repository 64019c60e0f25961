"""Room on the disk: asked before an ingest begins, kept by pruning and sweeping afterwards."""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING

from hven.errors import Conflict, StorageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hven.holdings import Site
    from hven.store import Lease

FACTOR = 2.0  # rows are spooled once and written once
GRACE = 1.0  # seconds in which every process sees what was published
RUNS = 20  # runs of a collection whose reports and rejects are kept


def check(site: Site, collection: str, expected: int) -> None:
    """Refuse to begin what cannot end.

    Parameters
    ----------
    expected
        Bytes that the new snapshots will take, about.

    Raises
    ------
    StorageError
        The disk, or the site's `disk_budget`, has less room than that takes.
    """
    need = int(expected * FACTOR)
    free = shutil.disk_usage(site.settings.var).free
    if need > free:
        raise StorageError(
            f"{collection} needs about {_size(need)} in {site.settings.var}, where {_size(free)} are free",
            remedy="make room, or keep fewer snapshots (keep_snapshots)",
        )
    budget = site.settings.disk_budget
    if budget is not None:
        used = occupied(site.settings.var)
        if used + need > budget:
            raise StorageError(
                f"{collection} needs about {_size(need)}, and {site.settings.var} already takes {_size(used)} of its {_size(budget)}",
                remedy="raise disk_budget in hven.toml, keep fewer snapshots (keep_snapshots), or hven remove --purge what is not needed",
            )


def occupied(directory: Path) -> int:
    """Count the bytes below a directory."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # files come and go while we look
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_blocks * 512
    return total


def sweep(site: Site) -> list[str]:
    """Remove what crashed ingests left behind; if another process sweeps or publishes at this moment, it can wait."""
    try:
        with files_lease(site):
            return site.engine.sweep(site.store.known())
    except Conflict:
        return []


def files_lease(site: Site, wait: float = 0.0) -> AbstractContextManager[Lease]:
    """Give the lease that keeps a sweep and a publication apart: what is published in between must not look forgotten."""
    return site.store.leases.held("files", what="tidying or publishing", wait=wait)


def prune(site: Site, collection: str) -> None:
    """Keep the last snapshots of a collection, and the last reports."""
    gone = site.store.prune(collection, site.settings.keep_snapshots)
    if gone and site.settings.keep_snapshots < 2:
        time.sleep(GRACE)  # other processes may look for the state before this one until they have seen this one
    for snapshot in gone:
        site.engine.drop(snapshot)
    old = site.store.runs.of(collection, limit=10_000)[RUNS:]
    for run in old:
        shutil.rmtree(rejects_of(site, run.id), ignore_errors=True)
    site.store.runs.forget([run.id for run in old])


def rejects_of(site: Site, run: str) -> Path:
    """Give the directory of a run's report and rejects."""
    return site.settings.var / "rejects" / run


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in {"bytes", "KB"} else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"

"""Room on the disk: asked before an ingest begins, kept by pruning and sweeping afterwards."""

from __future__ import annotations

import contextlib
import shutil
import stat
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.errors import Conflict, HvenError, StorageError
from hven.site import EMBEDDED

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import Lease

FACTOR = 2.0  # rows are spooled once and written once
PART = 32 * 1024**2  # bytes that are written anew where one row changes
GRACE = 1.0  # seconds in which every process sees what was published
SETTLED = 10.0  # seconds after which nobody begins to read what was replaced
REPORTS = 20  # runs of a collection whose reports and rejects are kept
RUNS = 1_000  # .. and whose counts are
PUSHES = 200  # .. of pushes, whose history is kept anyway


def check(site: Site, collection: str, expected: int, *, factor: float = FACTOR) -> None:
    """Refuse to begin what cannot end.

    Parameters
    ----------
    site
        Where.
    collection
        What is to begin, for the message.
    expected
        Bytes that the new snapshots will take, about.
    factor
        How often they are written: more than once means that they are spooled first, below `var`.

    Raises
    ------
    StorageError
        The disk, or the site's `disk_budget`, has less room than that takes.
    """
    need = int(expected * factor)
    for place, part in _places(site, need, expected):
        free = shutil.disk_usage(place).free
        if part > free:
            raise StorageError(
                f"{collection} needs about {_size(part)} in {place}, where {_size(free)} are free",
                remedy="make room, or keep fewer snapshots (keep_snapshots); what is published stays as it is",
            )
    budget = site.settings.disk_budget
    if budget is not None:
        used = occupied(site.settings.var)
        if used + need > budget:
            raise StorageError(
                f"{collection} needs about {_size(need)}, and {site.settings.var} already takes {_size(used)} of its {_size(budget)}",
                remedy="raise disk_budget in hven.toml, keep fewer snapshots (keep_snapshots), or hven remove --purge what is not needed",
            )


def of_changes(before: int, rows: int, size: int) -> int:
    """Estimate the bytes that a merge of changes takes: they are spooled and written, and so are the parts that they fall into.

    Parameters
    ----------
    before
        Bytes of the snapshot that is merged into.
    rows, size
        Rows that come, change or go, and the bytes of those that are written.
    """
    return 2 * size + min(before, rows * PART)


def _places(site: Site, need: int, kept: int) -> list[tuple[Path, int]]:
    """Return where how much is written: rows may lie on another disk than the spool."""
    var, rows = site.settings.var, site.settings.kept
    if var == rows or not rows.is_dir() or var.stat().st_dev == rows.stat().st_dev:
        return [(var, need)]
    return [(rows, min(kept, need)), (var, need - min(kept, need))]


def occupied(directory: Path) -> int:
    """Count the bytes below a directory; a file that several snapshots share counts once."""
    found: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # files come and go while we look
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def sweep(site: Site) -> list[str]:
    """Remove what crashed ingests left behind; if another process sweeps or publishes at this moment, it can wait."""
    try:
        with files_lease(site):
            known = site.store.kept()
            gone = site.engine.sweep(known.pop(EMBEDDED, set()))
            for name in {site.engines.default, *known} - {EMBEDDED}:
                with contextlib.suppress(HvenError):  # an engine that is away is swept another time
                    gone += site.engines.get(name).sweep(known.get(name, set()))
            return gone
    except Conflict:
        return []


def files_lease(site: Site, wait: float = 0.0) -> AbstractContextManager[Lease]:
    """Return the lease that keeps a sweep and a publication apart: what is published in between must not look forgotten."""
    return site.store.leases.held("files", what="tidying or publishing", wait=wait)


def forget(site: Site, collection: str) -> None:
    """Delete everything that syncs of a collection have kept, for one that is purged.

    Parameters
    ----------
    site
        Where.
    collection
        Its name.
    """
    for place in (site.settings.kept / "sync").glob(f"*/{collection}.*"):
        shutil.rmtree(place, ignore_errors=True)


def prune(site: Site, collection: str, *, young: bool = False) -> list[str]:
    """Prune a collection to its last snapshots and reports; return what could not be removed.

    Parameters
    ----------
    young
        Snapshots of a moment ago stay, however many there are: where each write makes one, who asks now still finds the one that it begins with.
    """
    before = (datetime.now(UTC) - timedelta(seconds=SETTLED)).isoformat(timespec="microseconds") if young else "9"
    gone = site.store.prune(collection, site.settings.keep_snapshots, before=before)
    if gone and site.settings.keep_snapshots < 2 and not young:
        time.sleep(GRACE)  # other processes may look for the state before this one until they have seen this one
    troubles = site.engines.drop(gone)
    runs = site.store.runs.of(collection, limit=10_000)
    pushes = [run for run in runs if run.kind == "push"]  # many small ones take no report of an ingest away
    others = [run for run in runs if run.kind != "push"]
    for run in (*pushes[REPORTS:], *others[REPORTS:]):
        place = rejects_of(site, run.id)
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
    if old := [run.id for run in (*pushes[PUSHES:], *others[RUNS:])]:
        site.store.runs.forget(old)
    return troubles


def rejects_of(site: Site, run: str) -> Path:
    """Return the directory of a run's report and rejects."""
    return site.settings.var / "rejects" / run


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in {"bytes", "KB"} else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"

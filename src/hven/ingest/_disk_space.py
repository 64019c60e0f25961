"""Room on the disk: asked before an ingest begins, kept by pruning and sweeping afterwards."""

from __future__ import annotations

import contextlib
import shutil
import stat
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.errors import ConflictError, HvenError, StorageError
from hven.site import EMBEDDED_ENGINE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hven.site import Site
    from hven.site.store import Lease

SPOOL_FACTOR = 2.0  # rows are spooled once and written once
CHANGED_PART_BYTES = 32 * 1024**2  # bytes that are written anew where one row changes
PROPAGATION_SECONDS = 1.0  # seconds in which every process sees what was published
MIN_SNAPSHOT_AGE_SECONDS = 10.0  # seconds after which nobody begins to read what was replaced
MAX_KEPT_REPORTS = 20  # runs of a collection whose reports and rejects are kept
MAX_KEPT_RUNS = 1_000  # .. and whose counts are
MAX_KEPT_PUSH_RUNS = 200  # .. of pushes, whose history is kept anyway


def check_disk_space(site: Site, collection: str, expected_bytes: int, *, write_factor: float = SPOOL_FACTOR) -> None:
    """Refuse to begin what cannot end.

    Parameters
    ----------
    site
        Where.
    collection
        What is to begin, for the message.
    expected_bytes
        Bytes that the new snapshots will take, about.
    write_factor
        How often they are written: more than once means that they are spooled first, below `var`.

    Raises
    ------
    StorageError
        The disk, or the site's `disk_budget`, has less room than that takes.
    """
    needed_bytes = int(expected_bytes * write_factor)
    for directory, needed_there in _divide_by_disk(site, needed_bytes, expected_bytes):
        free_bytes = shutil.disk_usage(directory).free
        if needed_there > free_bytes:
            raise StorageError(
                f"{collection} needs about {_format_bytes(needed_there)} in {directory}, where "
                f"{_format_bytes(free_bytes)} are free",
                remedy="make room, or keep fewer snapshots (keep_snapshots); what is published stays as it is",
            )
    budget = site.settings.disk_budget
    if budget is not None:
        used_bytes = measure_directory(site.settings.var_directory)
        if used_bytes + needed_bytes > budget:
            raise StorageError(
                f"{collection} needs about {_format_bytes(needed_bytes)}, and {site.settings.var_directory} "
                f"already takes {_format_bytes(used_bytes)} of its {_format_bytes(budget)}",
                remedy="raise disk_budget in hven.toml, keep fewer snapshots (keep_snapshots), or hven remove --purge "
                "what is not needed",
            )


def estimate_merge_bytes(base_bytes: int, rows: int, written_bytes: int) -> int:
    """Estimate the bytes that a merge of changes takes.

    They are spooled and written, and so are the parts that they fall into.

    Parameters
    ----------
    base_bytes
        Bytes of the snapshot that is merged into.
    rows, written_bytes
        Rows that come, change or go, and the bytes of those that are written.
    """
    return 2 * written_bytes + min(base_bytes, rows * CHANGED_PART_BYTES)


def _divide_by_disk(site: Site, needed_bytes: int, row_bytes: int) -> list[tuple[Path, int]]:
    """Return where how much is written: rows may lie on another disk than the spool."""
    var = site.settings.var_directory
    rows = site.settings.data_directory
    if var == rows or not rows.is_dir() or var.stat().st_dev == rows.stat().st_dev:
        return [(var, needed_bytes)]
    return [(rows, min(row_bytes, needed_bytes)), (var, needed_bytes - min(row_bytes, needed_bytes))]


def measure_directory(directory: Path) -> int:
    """Count the bytes below a directory; a file that several snapshots share counts once."""
    bytes_by_inode: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # files come and go while we look
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                bytes_by_inode[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(bytes_by_inode.values())


def delete_leftovers(site: Site) -> list[str]:
    """Remove what crashed ingests left behind; if another process sweeps or publishes at this moment, it can wait."""
    try:
        with acquire_files_lease(site):
            kept_by_engine = site.store.map_known_paths()
            deleted_names = site.embedded_engine.remove_leftovers(kept_by_engine.pop(EMBEDDED_ENGINE, set()))
            for name in {site.engines.default_engine, *kept_by_engine} - {EMBEDDED_ENGINE}:
                with contextlib.suppress(HvenError):  # an engine that is away is swept another time
                    deleted_names += site.engines.get_engine(name).remove_leftovers(kept_by_engine.get(name, set()))
            return deleted_names
    except ConflictError:
        return []


def acquire_files_lease(site: Site, wait_seconds: float = 0.0) -> AbstractContextManager[Lease]:
    """Return the lease that keeps a sweep and a publication apart.

    What is published in between must not look forgotten.
    """
    return site.store.leases.hold_lease("files", description="tidying or publishing", wait_seconds=wait_seconds)


def delete_sync_data(site: Site, collection: str) -> None:
    """Delete everything that syncs of a collection have kept, for one that is purged.

    Parameters
    ----------
    site
        Where.
    collection
        Its name.
    """
    for directory in (site.settings.data_directory / "sync").glob(f"*/{collection}.*"):
        shutil.rmtree(directory, ignore_errors=True)


def prune_collection(site: Site, collection: str, *, keep_recent: bool = False) -> list[str]:
    """Prune a collection to its last snapshots and reports; return what could not be removed.

    Parameters
    ----------
    keep_recent
        Snapshots of a moment ago stay, however many there are: where each write makes one, who asks now still finds the
        one that it begins with.
    """
    if keep_recent:
        time_limit = (datetime.now(UTC) - timedelta(seconds=MIN_SNAPSHOT_AGE_SECONDS)).isoformat(
            timespec="microseconds"
        )
    else:
        time_limit = "9"
    pruned_snapshots = site.store.prune_snapshots(collection, site.settings.keep_snapshots, created_before=time_limit)
    if pruned_snapshots and site.settings.keep_snapshots < 2 and not keep_recent:
        time.sleep(
            PROPAGATION_SECONDS
        )  # other processes may look for the state before this one until they have seen this one
    troubles = site.engines.drop_snapshots(pruned_snapshots)
    runs = site.store.runs.list_runs(collection, row_limit=10_000)
    pushes = [run for run in runs if run.kind == "push"]  # many small ones take no report of an ingest away
    other_runs = [run for run in runs if run.kind != "push"]
    for run in (*pushes[MAX_KEPT_REPORTS:], *other_runs[MAX_KEPT_REPORTS:]):
        run_directory = find_run_directory(site, run.id)
        if run_directory.is_dir():
            shutil.rmtree(run_directory, ignore_errors=True)
    old_run_ids = [run.id for run in (*pushes[MAX_KEPT_PUSH_RUNS:], *other_runs[MAX_KEPT_RUNS:])]
    if old_run_ids:
        site.store.runs.delete_runs(old_run_ids)
    return troubles


def find_run_directory(site: Site, run: str) -> Path:
    """Return the directory of a run's report and rejects."""
    return site.settings.var_directory / "rejects" / run


def _format_bytes(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            if unit in {"bytes", "KB"}:
                return f"{value:.0f} {unit}"
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"

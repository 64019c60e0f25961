"""Check the space on the disk before an ingest, and free it afterwards by pruning and sweeping."""

from __future__ import annotations

import contextlib
import os
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
CHANGED_PART_BYTES = 32 * 1024**2  # a change of one row rewrites this number of bytes
PROPAGATION_SECONDS = 1.0  # after this time, every process knows a new published state
MIN_SNAPSHOT_AGE_SECONDS = 10.0  # this long after a replacement, nobody begins to read the old snapshot
MAX_KEPT_REPORTS = 20  # runs of a collection whose reports and rejects are kept
MAX_KEPT_RUNS = 1_000  # .. and whose counts are kept
MAX_KEPT_PACKAGE_RUNS = 200  # .. for each kind of runs of plug-in packages, which come often
CORE_RUN_KINDS = {"ingest", "move", "sync"}


def check_disk_space(site: Site, collection: str, expected_bytes: int, *, write_factor: float = SPOOL_FACTOR) -> None:
    """Refuse to begin a run for which the disk has too little space.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection, for the message.
    expected_bytes
        Approximate size of the new snapshots.
    write_factor
        How often they are written; with more than once, they are spooled first, below `var`.

    Raises
    ------
    StorageError
        The disk, or the site's `disk_budget`, has less space than the snapshots need.
    """
    needed_bytes = int(expected_bytes * write_factor)
    for directory, needed_there in _divide_bytes_by_disk(site, needed_bytes, expected_bytes):
        free_bytes = shutil.disk_usage(directory).free
        if needed_there > free_bytes:
            raise StorageError(
                f"{collection} needs about {_format_bytes(needed_there)} in {directory}, where only "
                f"{_format_bytes(free_bytes)} are free",
                remedy="free some space, or keep fewer snapshots (keep_snapshots); the published rows stay as they are",
            )
    budget = site.settings.disk_budget
    if budget is not None:
        used_bytes = measure_directory_bytes(site.settings.var_directory)
        if used_bytes + needed_bytes > budget:
            raise StorageError(
                f"{collection} needs about {_format_bytes(needed_bytes)}, but {site.settings.var_directory} "
                f"already uses {_format_bytes(used_bytes)} of its budget of {_format_bytes(budget)}",
                remedy="raise disk_budget in hven.toml, keep fewer snapshots (keep_snapshots), or use `hven remove "
                "--purge` to delete what you do not need",
            )


def estimate_merge_bytes(base_bytes: int, row_count: int, written_bytes: int) -> int:
    """Estimate the bytes that a merge of changes takes.

    Changed rows are spooled and written, and the parts of the snapshot that have them are rewritten.

    Parameters
    ----------
    base_bytes
        Size of the snapshot before the merge.
    row_count, written_bytes
        Number of rows that are added, changed or removed, and bytes of the rows that are written.
    """
    return 2 * written_bytes + min(base_bytes, row_count * CHANGED_PART_BYTES)


def _divide_bytes_by_disk(site: Site, needed_bytes: int, row_bytes: int) -> list[tuple[Path, int]]:
    """Return the bytes that are written to each directory: the rows may be on another disk than the spool."""
    var_directory = site.settings.var_directory
    data_directory = site.settings.data_directory
    if var_directory == data_directory or not data_directory.is_dir():
        return [(var_directory, needed_bytes)]
    if var_directory.stat().st_dev == data_directory.stat().st_dev:
        return [(var_directory, needed_bytes)]
    data_bytes = min(row_bytes, needed_bytes)
    return [(data_directory, data_bytes), (var_directory, needed_bytes - data_bytes)]


def measure_directory_bytes(directory: Path) -> int:
    """Return the bytes of all files below a directory; a file that several snapshots share counts once."""
    bytes_by_inode: dict[tuple[int, int], int] = {}
    # other processes create and delete files and directories meanwhile
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118  (a path object for each is slow)
                if stat.S_ISREG(status.st_mode):
                    bytes_by_inode[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(bytes_by_inode.values())


def delete_ingest_leftovers(site: Site) -> list[str]:
    """Delete the files of crashed ingests; do nothing if another process sweeps or publishes now.

    Parameters
    ----------
    site
        The site.

    Returns
    -------
    names
        Names of what was deleted.
    """
    try:
        with acquire_files_lease(site):
            kept_by_engine = site.store.map_kept_snapshot_paths()
            embedded_paths = kept_by_engine.pop(EMBEDDED_ENGINE, set())
            deleted_names = site.embedded_engine.remove_leftovers(embedded_paths)
            for name in {site.engines.default_engine, *kept_by_engine} - {EMBEDDED_ENGINE}:
                with contextlib.suppress(HvenError):  # a later sweep reaches an engine that is down now
                    engine = site.engines.get_engine(name)
                    deleted_names += engine.remove_leftovers(kept_by_engine.get(name, set()))
            return deleted_names
    except ConflictError:
        return []


def acquire_files_lease(site: Site, wait_seconds: float = 0.0) -> AbstractContextManager[Lease]:
    """Return the lease that keeps sweeps and publications apart.

    A sweep would delete the files of a publication that has not moved the pointers yet.

    Parameters
    ----------
    site
        The site.
    wait_seconds
        Seconds to wait for another holder at most.
    """
    return site.store.leases.hold_lease("files", description="tidying or publishing", wait_seconds=wait_seconds)


def delete_collection_sync_data(site: Site, collection: str) -> None:
    """Delete all data of the syncs of a collection that is purged.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection.
    """
    for directory in (site.settings.data_directory / "sync").glob(f"*/{collection}.*"):
        shutil.rmtree(directory, ignore_errors=True)


def prune_collection_history(site: Site, collection: str, *, keep_recent: bool = False) -> list[str]:
    """Prune a collection to its last snapshots and reports; return the problems.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection.
    keep_recent
        Keep the snapshots of the last seconds, however many there are: if each write makes one, a client still finds
        the snapshot with which it began.

    Returns
    -------
    problems
        What could not be deleted.
    """
    created_before = "9"  # later than any time
    if keep_recent:
        oldest_kept_time = datetime.now(UTC) - timedelta(seconds=MIN_SNAPSHOT_AGE_SECONDS)
        created_before = oldest_kept_time.isoformat(timespec="microseconds")
    keep_snapshots = site.settings.keep_snapshots
    pruned_snapshots = site.store.prune_snapshots(collection, keep_snapshots, created_before=created_before)
    if pruned_snapshots and keep_snapshots < 2 and not keep_recent:
        time.sleep(PROPAGATION_SECONDS)  # other processes read the old state until they know the new one
    troubles = site.engines.drop_snapshots_and_list_problems(pruned_snapshots)
    runs = site.store.runs.list_runs(collection, row_limit=10_000)
    core_runs = [run for run in runs if run.kind in CORE_RUN_KINDS]
    old_run_ids = [run.id for run in core_runs[MAX_KEPT_RUNS:]]
    unreported_runs = core_runs[MAX_KEPT_REPORTS:]
    # apart, so that many runs of a package delete no report of an ingest
    for kind in {run.kind for run in runs} - CORE_RUN_KINDS:
        package_runs = [run for run in runs if run.kind == kind]
        old_run_ids += [run.id for run in package_runs[MAX_KEPT_PACKAGE_RUNS:]]
        unreported_runs += package_runs[MAX_KEPT_REPORTS:]
    for run in unreported_runs:
        run_directory = get_run_directory(site, run.id)
        if run_directory.is_dir():
            shutil.rmtree(run_directory, ignore_errors=True)
    if old_run_ids:
        site.store.runs.delete_runs(old_run_ids)
    return troubles


def get_run_directory(site: Site, run: str) -> Path:
    """Return the directory of the report and the rejects of a run."""
    return site.settings.var_directory / "rejects" / run


def _format_bytes(byte_count: int) -> str:
    amount = float(byte_count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1000:
            if unit in {"bytes", "KB"}:
                return f"{amount:.0f} {unit}"
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

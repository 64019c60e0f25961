"""Forecast when a disk will be full, from samples of its free space.

Each server adds a sample an hour to ``var/operations/disk.jsonl``. A forecast needs a day of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.jobs.health import MIN_FREE_DISK_BYTES
from hven.plugins.operations.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.model.settings import Settings

OPERATIONS_DIRECTORY = "operations"
SAMPLES_FILE = "disk.jsonl"
SAMPLE_INTERVAL_SECONDS = 3600.0
MAX_SAMPLES = 24 * 14
MIN_SAMPLES = 6
MIN_SPAN_SECONDS = 86_400.0
DAY_SECONDS = 86_400.0
LOW_SHARE, LOW_BYTES = 0.05, 20 * 1024**3
SCARCE_SHARE, SCARCE_BYTES = 0.01, 2 * 1024**3  # an ingest or a job may need more
WARNING_DAYS, ERROR_DAYS = 30.0, 5.0
_REMEDY = "free some space, keep fewer snapshots (keep_snapshots in hven.toml), or extend the disk"


class DiskSample(NamedTuple):
    """Free bytes of the disk of a directory at a time (seconds since 1970)."""

    unix_time: float
    directory: str
    free_bytes: int


def get_operations_directory(settings: Settings) -> Path:
    """Return the directory in which servers of a site keep what this package reads."""
    return settings.var_directory / OPERATIONS_DIRECTORY


def list_one_directory_per_disk(settings: Settings) -> list[Path]:
    """List one directory of the site for each disk that it uses."""
    directories_by_disk: dict[int, Path] = {}
    for directory in (settings.data_directory, settings.var_directory):
        with contextlib.suppress(OSError):
            directories_by_disk.setdefault(directory.stat().st_dev, directory)
    return list(directories_by_disk.values())


def record_disk_sample(settings: Settings) -> None:
    """Add a sample of each disk, unless any process of the site has done so in the last hour.

    A disk that is full or read-only gets none.
    """
    path = get_operations_directory(settings) / SAMPLES_FILE
    with contextlib.suppress(OSError):
        if path.exists() and time.time() - path.stat().st_mtime < SAMPLE_INTERVAL_SECONDS:
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            samples = read_disk_samples(settings)
            if samples and 0 <= time.time() - samples[-1].unix_time < SAMPLE_INTERVAL_SECONDS:
                return
            for directory in list_one_directory_per_disk(settings):
                samples.append(DiskSample(time.time(), str(directory), shutil.disk_usage(directory).free))
            new_path = path.with_suffix(f".{os.getpid()}.new")
            new_path.write_text("".join(f"{json.dumps(sample)}\n" for sample in samples[-MAX_SAMPLES:]), "utf-8")
            new_path.replace(path)


def read_disk_samples(settings: Settings) -> list[DiskSample]:
    """Read the samples, the oldest first; lines that are no samples are left out."""
    samples = []
    try:
        text = (get_operations_directory(settings) / SAMPLES_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    for line in text.splitlines()[-MAX_SAMPLES:]:
        with contextlib.suppress(ValueError, TypeError):
            unix_time, directory, free_bytes = json.loads(line)
            samples.append(DiskSample(float(unix_time), str(directory), int(free_bytes)))
    return samples


def estimate_full_seconds(samples: Sequence[DiskSample]) -> float | None:
    """Estimate how long it takes from the last sample until a disk is full.

    Parameters
    ----------
    samples
        Samples of one disk, the oldest first.

    Returns
    -------
    seconds
        None: the samples are too few, or the free space does not shrink.
    """
    if len(samples) < MIN_SAMPLES or samples[-1].unix_time - samples[0].unix_time < MIN_SPAN_SECONDS:
        return None
    times = np.array([sample.unix_time for sample in samples]) - samples[-1].unix_time
    free_bytes = np.array([sample.free_bytes for sample in samples], dtype=float)
    later, earlier = np.triu_indices(len(samples), 1)[::-1]
    spans = times[later] - times[earlier]
    slopes = (free_bytes[later] - free_bytes[earlier])[spans > 0] / spans[spans > 0]
    # the median slope (Theil-Sen): one ingest or one purge does not change it
    slope = 0.0
    if len(slopes):
        slope = float(np.median(slopes))
    if slope >= 0:
        return None
    return max(samples[-1].free_bytes - MIN_FREE_DISK_BYTES, 0) / -slope


def find_disk_problems(settings: Settings) -> Iterator[Finding]:
    """Find disks that are full, or will be.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    samples = read_disk_samples(settings)
    for directory in list_one_directory_per_disk(settings):
        subject = str(directory)
        usage = shutil.disk_usage(directory)
        free_text = f"{usage.free / 1e9:.1f} GB are free on the disk of {directory}"
        if not os.access(directory, os.W_OK):
            message = f"Hven can't write to {directory}, so nothing is published and no job starts"
            yield Finding(
                harm="critical",
                subject=subject,
                message=message,
                remedy="check the disk, and the permissions of the directory",
                command=f"ls -ld {shlex.quote(subject)}",
            )
            continue
        command = f"du -xh --max-depth=2 {shlex.quote(subject)} | sort -h | tail"
        if usage.free < MIN_FREE_DISK_BYTES:
            message = f"the disk of {directory} is almost full: only {usage.free / 1e6:.0f} MB are free"
            yield Finding(harm="critical", subject=subject, message=message, remedy=_REMEDY, command=command)
            continue
        if usage.free < SCARCE_SHARE * usage.total and usage.free < SCARCE_BYTES:
            message = f"{free_text}, so the next ingest or job may fail"
            yield Finding(harm="error", subject=subject, message=message, remedy=_REMEDY, command=command)
            continue
        own_samples = [sample for sample in samples if sample.directory == subject]
        own_samples.append(DiskSample(time.time(), subject, usage.free))
        full_seconds = estimate_full_seconds(own_samples)
        if full_seconds is not None and full_seconds < WARNING_DAYS * DAY_SECONDS:
            days = full_seconds / DAY_SECONDS
            yield Finding(
                harm="error" if days < ERROR_DAYS else "warning",
                subject=subject,
                message=f"{free_text}; at the present rate, the disk will be full in {days:.1f} days",
                remedy=_REMEDY,
                command=command,
            )
        elif usage.free < LOW_SHARE * usage.total and usage.free < LOW_BYTES:
            yield Finding(harm="warning", subject=subject, message=free_text, remedy=_REMEDY, command=command)

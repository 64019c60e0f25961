"""Show in the metrics how full the disks of the site are."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from hven.plugins.operations.disk_forecast import list_one_directory_per_disk
from hven.plugins.operations.query_watch import list_watched_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    Metric = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]


def list_metrics() -> Iterator[Metric]:
    """List the size and the free space of each disk of the sites that this process has opened."""
    free_samples, size_samples = [], []
    directories = {
        directory for site in list_watched_sites() for directory in list_one_directory_per_disk(site.settings)
    }
    for directory in sorted(directories):
        labels = {"directory": str(directory)}
        with contextlib.suppress(OSError):  # the disk was removed meanwhile
            usage = shutil.disk_usage(directory)
            free_samples.append(("", labels, float(usage.free)))
            size_samples.append(("", labels, float(usage.total)))
    yield "disk_free_bytes", "gauge", "Free space of the disk of a directory of the site.", free_samples
    yield "disk_size_bytes", "gauge", "Size of this disk.", size_samples

"""Prepare products from the files of a collection after a publication.

The preparation is a job of the site's owner (`hven.services.tasks.prepare`); only one such job waits at a time.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import NotFoundError
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.store import JobRecord, format_current_time

if TYPE_CHECKING:
    from hven.model.resource import CollectionSpec
    from hven.site import Site

PREPARE_JOB_TYPE = "prepare"
OWNER_QUEUE = f"user {OWNER_PRINCIPAL.name}"


def enqueue_file_preparation(site: Site, resource: CollectionSpec) -> None:
    """Enqueue a job that prepares new files, and deletes the products of files that are gone.

    Parameters
    ----------
    site
        The site.
    resource
        The descriptor of the collection.
    """
    package_words = {word for package in plugins.list_plugin_packages() for word in package.file_preparations}
    words = [word for word in resource.prepare if word in package_words]
    if not words and not _has_prepared_products(site, resource.name):
        return
    jobs = site.store.jobs
    preparations = [("WHAT", word) for word in words]
    job_parameters = (("COLLECTION", resource.name), *preparations)
    for waiting_job in jobs.list_jobs(OWNER_QUEUE, PREPARE_JOB_TYPE, phases=("QUEUED",)):
        with suppress(NotFoundError):
            if tuple(jobs.get_job(waiting_job.id).parameters) == job_parameters:
                return
    current_time = datetime.now(UTC)
    destruction_time = current_time + timedelta(days=site.settings.jobs.keep_days)
    job = JobRecord(
        id=f"{current_time:%y%m%d}{secrets.token_hex(10)}",
        type=PREPARE_JOB_TYPE,
        queue=OWNER_QUEUE,
        owner=OWNER_PRINCIPAL.name,
        groups=sorted(OWNER_PRINCIPAL.groups),
        parameters=job_parameters,
        created=f"{format_current_time()[:23]}000Z",
        destruction=destruction_time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        duration=0,
    )
    jobs.add_job(job)
    jobs.enqueue_job(job.id, allowed_phases=("PENDING",), queue_limit=site.settings.jobs.queued)


def _has_prepared_products(site: Site, collection: str) -> bool:
    """Return whether a package keeps products of files of a collection; some may be of files that are gone."""
    preparing_packages = [package for package in plugins.list_plugin_packages() if package.file_preparations]
    folders = [folder for package in preparing_packages for folder in package.collection_folders]
    return any((site.settings.var_directory / folder / collection).is_dir() for folder in folders)

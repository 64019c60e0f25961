"""What is made of a collection's files behind a publication.

A job of the site's owner (`hven.services.tasks.prepare`), asked for once as long as it waits.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.errors import NotFoundError
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.store import JobRecord, format_current_time

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.site import Site

PREPARE_JOB_TYPE, OWNER_QUEUE = "prepare", f"user {OWNER_PRINCIPAL.name}"


def enqueue_preparation(site: Site, resource: Resource) -> None:
    """Let the workers of jobs prepare what is new, and sweep what was made of what is no more."""
    if not (resource.prepare or (site.settings.var_directory / "cubes" / resource.name).is_dir()):
        return
    jobs = site.store.jobs
    job_parameters = (("COLLECTION", resource.name), *(("WHAT", preparation) for preparation in resource.prepare))
    for ref in jobs.list_jobs(OWNER_QUEUE, PREPARE_JOB_TYPE, phases=("QUEUED",)):
        with suppress(NotFoundError):
            if tuple(jobs.get_job(ref.id).parameters) == job_parameters:
                return
    destruction_time = datetime.now(UTC) + timedelta(days=site.settings.jobs.keep_days)
    job = JobRecord(
        id=f"{datetime.now(UTC):%y%m%d}{secrets.token_hex(10)}",
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

"""What is made of a collection's files behind a publication: a job of the site's owner (`hven.services.tasks.prepare`), asked for once as long as it waits."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.model.errors import NotFound
from hven.site.auth import OWNER
from hven.site.store import Job, now

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.site import Site

KIND, QUEUE = "prepare", f"user {OWNER.name}"


def prepare(site: Site, resource: Resource) -> None:
    """Let the workers of jobs prepare what is new, and sweep what was made of what is no more."""
    if not (resource.prepare or (site.settings.var / "cubes" / resource.name).is_dir()):
        return
    jobs = site.store.jobs
    asked = (("COLLECTION", resource.name), *(("WHAT", one) for one in resource.prepare))
    for ref in jobs.listed(QUEUE, KIND, phases=("QUEUED",)):
        with suppress(NotFound):
            if tuple(jobs.one(ref.id).parameters) == asked:
                return
    until = datetime.now(UTC) + timedelta(days=site.settings.jobs.keep_days)
    job = Job(
        id=f"{datetime.now(UTC):%y%m%d}{secrets.token_hex(10)}",
        type=KIND,
        queue=QUEUE,
        owner=OWNER.name,
        groups=sorted(OWNER.groups),
        parameters=asked,
        created=f"{now()[:23]}000Z",
        destruction=until.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        duration=0,
    )
    jobs.add(job)
    jobs.enqueue(job.id, among=("PENDING",), most=site.settings.jobs.queued)

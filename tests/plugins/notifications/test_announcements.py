"""What other packages and the core announce: ends of jobs, steps of entries, comments, and the morning page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hven.model import plugins
from hven.plugins.notifications.event_kinds import load_event_kinds
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.store import JobRecord

if TYPE_CHECKING:
    from notification_site import MailServer, NotificationSite


def require_package(name: str) -> None:
    if name not in {package.name for package in plugins.list_plugin_packages()}:
        pytest.skip(f"the package {name} is absent")


LATER = "2099-01-01T00:00:00Z"


def end_job(site: NotificationSite, phase: str, parameters: list[tuple[str, str]], owner: str | None = "anna") -> None:
    jobs = site.site.store.jobs
    record = JobRecord(
        id=f"job{len(parameters)}{phase}{owner}", type="tap", queue=f"user {owner}", owner=owner, duration=60, destruction=LATER,
        parameters=parameters,
    )  # fmt: skip
    jobs.add_job(record, counted_phases=(), job_limit=10)
    jobs.enqueue_job(record.id, allowed_phases=("PENDING",), queue_limit=10, type_limit=None)
    claimed = jobs.claim_job()
    assert claimed is not None
    assert jobs.finish_job_and_notify_owner(claimed, phase)
    assert not jobs.finish_job_and_notify_owner(claimed, phase), "the second end changes and announces nothing"


def test_the_end_of_a_job(site: NotificationSite, mail_server: MailServer) -> None:
    end_job(site, "COMPLETED", [("QUERY", "SELECT 1"), ("NOTIFY", "true")])
    end_job(site, "ERROR", [("NOTIFY", "false")])
    end_job(site, "ERROR", [])
    end_job(site, "ABORTED", [("NOTIFY", "1")], owner=None)
    site.deliver()
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[Uraniborg] the job job2COMPLETEDanna (tap) has ended: COMPLETED"
    assert "https://vo.example/hven/jobs?job=job2COMPLETEDanna" in mail.get_content()


def test_the_morning_page_as_mail(site: NotificationSite, mail_server: MailServer, tmp_path: Path) -> None:
    require_package("operations")
    kind = load_event_kinds()["operations.morning"]
    assert plugins.load_named_object(kind.digest_writer, "x")(site.site, OWNER_PRINCIPAL) == []
    site.choose("anna", channels={"operations.morning": "mail"})
    site.deliver()
    assert mail_server.mails == [], "anna curates nothing"


def test_without_the_package_nothing_happens(site: NotificationSite) -> None:
    names = [package.name for package in plugins.list_plugin_packages() if package.name != "notifications"]
    try:
        plugins.select_plugin_packages(names)
        site.announce("anna")
    finally:
        plugins.select_plugin_packages(None)
    assert site.outbox.list_new_events() == []

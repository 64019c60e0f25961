"""Check that the registry records of an old service have moved: same identifiers, later dates, silence at the old."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.model.errors import HvenError, SourceError, UsageError
from hven.plugins.service_migration.harvested_records import harvest_records
from hven.plugins.service_migration.remote_documents import RemoteDocumentReader, find_text
from hven.plugins.service_migration.service_comparison import load_survey
from hven.plugins.service_migration.service_drafts import HARVEST_DIRECTORY, create_source_context
from hven.plugins.service_migration.service_survey import build_migration_directory
from hven.sources import http_client

if TYPE_CHECKING:
    from hven.model.settings import Settings

MAX_LIST_PAGES = 1000
GONE_STATUSES = {404, 410}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryHandover:
    """The state of the records.

    Attributes
    ----------
    record_count
        Number of records that the old service had when it was surveyed.
    missing
        Identifiers that the new registry does not have.
    not_later
        Identifiers whose date in the new registry is not later than the old one.
    active
        Identifiers that the old registry still lists.
    deleted_later
        Identifiers that the old registry has deleted after the date in the new one: a registry that harvests both may
        delete the new record.
    old_registry_note
        Why the old registry counts as silent; empty: it answers.
    old_registry_failure
        Why nobody can tell what the old registry still lists; empty: it is silent, or its records were read.
    """

    record_count: int
    missing: list[str] = field(default_factory=list)
    not_later: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    deleted_later: list[str] = field(default_factory=list)
    old_registry_note: str = ""
    old_registry_failure: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether a registry that harvests both now has the new records."""
        open_ivoids = self.missing or self.not_later or self.active or self.deleted_later
        return not (open_ivoids or self.old_registry_failure)

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON."""
        return {
            "records": self.record_count,
            "missing": self.missing,
            "not_later": self.not_later,
            "still_active": self.active,
            "deleted_later": self.deleted_later,
            "old_registry": self.old_registry_note,
            "old_registry_failure": self.old_registry_failure,
            "complete": self.is_complete,
        }


def check_registry_handover(settings: Settings, url: str, new_url: str) -> RegistryHandover:
    """Harvest both registries, and compare them with the records of the survey.

    Parameters
    ----------
    settings
        Settings of the site.
    url, new_url
        Addresses of the old service and of the new site.

    Raises
    ------
    UsageError
        The old service had no registry.
    SourceError
        The new registry does not respond.
    """
    survey = load_survey(settings, url)
    if not survey.records:
        raise UsageError(
            f"no registry records of {url} are known", remedy=f"run `hven migrate {url} --oai URL` with its registry"
        )
    context = create_source_context(settings)
    directory = build_migration_directory(settings.directory, url)
    new_dates = _harvest_dates(harvest_records(f"{new_url.rstrip('/')}/oai", context, directory / "new-registry"))
    old_dates: dict[str, str] = {}
    deletion_dates: dict[str, str] = {}
    note = failure = ""
    try:
        old_dates = _harvest_dates(harvest_records(survey.registry_url, context, directory / HARVEST_DIRECTORY))
        deletion_dates = _list_deletion_dates(survey.registry_url, RemoteDocumentReader(survey.registry_url, context))
    except HvenError as error:
        if _is_silent(survey.registry_url, settings):
            note = f"it does not answer ({error.message})"
        else:
            failure = f"its records cannot be read, so it may still list them ({error.message})"
    if old_dates and old_dates == new_dates:
        old_dates, deletion_dates, note = {}, {}, "its address leads to the new registry"
    surveyed = {str(record["ivoid"]): str(record["datestamp"]) for record in survey.records}
    return RegistryHandover(
        record_count=len(surveyed),
        missing=[ivoid for ivoid in surveyed if ivoid.lower() not in new_dates],
        not_later=[
            ivoid for ivoid, date in surveyed.items() if ivoid.lower() in new_dates and new_dates[ivoid.lower()] <= date
        ],
        active=[ivoid for ivoid in surveyed if ivoid.lower() in old_dates],
        deleted_later=[
            ivoid
            for ivoid in surveyed
            if ivoid.lower() in new_dates and new_dates[ivoid.lower()] <= deletion_dates.get(ivoid.lower(), "")
        ],
        old_registry_note=note,
        old_registry_failure=failure,
    )


def _is_silent(url: str, settings: Settings) -> bool:
    """Return whether nothing is at an address any more; a registry that is overloaded or broken is not silent."""
    try:
        answer = http_client.send_request_once("GET", f"{url}?verb=Identify", allow_private=settings.allow_private)
    except http_client.NoAnswerError:
        return False
    except http_client.UnreachableError:
        return True
    except HvenError as error:
        cause = error.__cause__  # the host has no address any more, unless the look-up itself failed
        return isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN
    return answer.status in GONE_STATUSES


def _harvest_dates(records: list[dict[str, Any]]) -> dict[str, str]:
    return {str(record["ivoid"]).lower(): str(record["datestamp"]) for record in records}


def _list_deletion_dates(url: str, documents: RemoteDocumentReader) -> dict[str, str]:
    """List the identifiers that a registry has deleted, with the dates."""
    dates: dict[str, str] = {}
    arguments = {"verb": "ListIdentifiers", "metadataPrefix": "ivo_vor"}
    for _ in range(MAX_LIST_PAGES):
        root = documents.fetch(f"{url}?{urlencode(arguments)}").parse_xml()
        for header in root.iterfind(".//{*}header"):
            if header.get("status") == "deleted":
                dates[find_text(header, "identifier").lower()] = find_text(header, "datestamp")
        token = find_text(root, "ListIdentifiers/resumptionToken")
        if not token or token == arguments.get("resumptionToken"):
            return dates
        arguments = {"verb": "ListIdentifiers", "resumptionToken": token}
    raise SourceError(
        f"the list of identifiers at {url} has not ended after {MAX_LIST_PAGES:,} pages",
        remedy="report the error to the operators of the registry",
    )

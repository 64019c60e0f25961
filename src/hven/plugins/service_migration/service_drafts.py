"""Survey a service, and write the descriptors of its collections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hven.model.errors import HvenError, SourceError, UsageError
from hven.model.settings import resolve_secret
from hven.plugins.drafts.document_drafts import ALL_COLLECTIONS, DocumentDraftRequest, write_collection_drafts
from hven.plugins.service_migration.collection_drafts import SurveyConverter
from hven.plugins.service_migration.daiquiri_survey import add_daiquiri_metadata
from hven.plugins.service_migration.erddap_survey import ErddapSurveyor, download_rows, find_erddap_data_sets
from hven.plugins.service_migration.harvested_records import REPOSITORY_PATHS, harvest_records
from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
from hven.plugins.service_migration.service_survey import (
    ServiceSurvey,
    build_migration_directory,
    build_server_url,
    read_survey,
    write_survey,
)
from hven.plugins.service_migration.sitools_survey import SitoolsSurveyor, find_sitools_projects
from hven.plugins.service_migration.tap_survey import TapSurveyor, find_tap_capabilities
from hven.sources import SourceContext

if TYPE_CHECKING:
    from pathlib import Path

    from hven.model.settings import Settings

REPORT_FILE = "report.txt"
HARVEST_DIRECTORY = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDrafts:
    """What `draft_service` has written.

    Attributes
    ----------
    paths
        The files.
    collection_names
        Names of the new collections.
    summary
        One line about the report.
    """

    paths: list[Path]
    collection_names: list[str]
    summary: str


def create_source_context(settings: Settings) -> SourceContext:
    """Create the context in which the old service is asked: a person waits, so silence is given up soon.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    return SourceContext(
        directory=settings.directory,
        resolve_secret=partial(resolve_secret, settings.directory),
        allow_private=settings.allow_private,
        is_inspection=True,
    )


def inspect_service(settings: Settings, url: str, *, table: str = "*", registry_url: str = "") -> ServiceSurvey:
    """Ask a service what it has. A survey that was interrupted continues.

    Parameters
    ----------
    settings
        Settings of the site.
    url
        Address of the service, or of its server.
    table
        Names of tables, perhaps with ``*``.
    registry_url
        Address of its publishing registry; empty: Hven tries the usual ones.

    Raises
    ------
    SourceError
        It is no service that Hven knows, or does not respond.
    """
    directory = build_migration_directory(settings.directory, url)
    context = create_source_context(settings)
    documents = RemoteDocumentReader(url, context)
    survey = read_survey(directory)
    survey = ServiceSurvey(url=url.rstrip("/")) if survey is None else survey
    survey.problems.clear()

    def save() -> None:
        write_survey(directory, survey)

    tap_service = find_tap_capabilities(url, documents)
    if tap_service is not None:
        survey.url, capabilities = tap_service
        surveyor = TapSurveyor(survey, documents, context)
        surveyor.inspect_documents(capabilities)
        surveyor.inspect_tables(table, save)
        if survey.program == "TAP":
            add_daiquiri_metadata(survey, documents, context, directory / HARVEST_DIRECTORY)
    elif (projects := find_sitools_projects(url, documents)) is not None:
        survey.program = "SITools2"
        SitoolsSurveyor(survey, documents).inspect_projects(projects, table, save)
    elif (erddap := find_erddap_data_sets(url, documents)) is not None:
        survey.program = "ERDDAP"
        survey.url, data_sets = erddap
        ErddapSurveyor(survey, documents).inspect_data_sets(data_sets, table, save)
    else:
        reasons = f" ({'; '.join(documents.problems)})" if documents.problems else ""
        raise SourceError(
            f"there is no TAP service, SITools2 or ERDDAP at {url}{reasons}",
            remedy="specify the address of the TAP service, such as https://host/tap",
        )
    _inspect_registry(survey, registry_url, context, directory)
    survey.problems += documents.problems
    save()
    return survey


def _inspect_registry(survey: ServiceSurvey, registry_url: str, context: SourceContext, directory: Path) -> None:
    """Harvest the registry of the service. It need not have one, unless its address was given."""
    if registry_url:
        candidates = [registry_url]
    else:
        candidates = [build_server_url(survey.url, path) for path in REPOSITORY_PATHS]
    reasons = []
    for candidate in candidates:
        try:
            survey.records = harvest_records(candidate, context, directory / HARVEST_DIRECTORY)
        except HvenError as error:
            if registry_url:
                raise
            reasons.append(error.message)
        else:
            survey.registry_url = candidate
            return
    survey.problems.append(
        f"no publishing registry was found, so identifiers are not known; if there is one, write --oai ({reasons[0]})"
    )


def draft_service(
    settings: Settings, url: str, *, table: str = "*", registry_url: str = "", database: str = ""
) -> ServiceDrafts:
    """Survey a service, and write descriptors and a report. Descriptors that exist stay as they are.

    Parameters
    ----------
    settings
        Settings of the site.
    url, table, registry_url
        As in `inspect_service`.
    database
        ``$NAME``: a secret with the address of the old database, from which rows are read; empty: by TAP.

    Raises
    ------
    UsageError
        `database` is no secret.
    SourceError
        As in `inspect_service`; or no table can be read.
    """
    if database and not database.startswith("$"):
        raise UsageError(
            "the address of a database must be a secret, because it often contains a password",
            remedy="put the address in an environment variable, and write --database '$NAME'",
        )
    survey = inspect_service(settings, url, table=table, registry_url=registry_url)
    if survey.program == "ERDDAP":
        _download_erddap_rows(survey, settings)
        write_survey(build_migration_directory(settings.directory, url), survey)
    if not survey.readable_tables:
        reasons = {surveyed.failure for surveyed in survey.tables.values()}
        reason = "; ".join(sorted(reasons)[:3]) or f"it lists no table named {table}"
        raise SourceError(
            f"no table of {survey.url} can be read: {reason}",
            remedy="ask the operators of the service",
        )
    converter = SurveyConverter(survey, settings, database)
    existing_names = {name for name in converter.collection_names if _has_descriptor(settings, name)}
    drafts = converter.draft_collections(existing_names)
    request = DocumentDraftRequest(
        settings=settings,
        name=ALL_COLLECTIONS,
        path=settings.directory,
        store_connection=lambda _name, path: (str(path), []),
    )
    written = write_collection_drafts(request, SimpleNamespace(draft_collections=lambda _request: drafts))
    report_path = build_migration_directory(settings.directory, url) / REPORT_FILE
    report_path.write_text(converter.write_report(), encoding="utf-8")
    return ServiceDrafts(
        paths=[*(path for path, _ in written), report_path],
        collection_names=[draft.name for _, draft in written],
        summary=f"{converter.report.write_summary()}; read {REPORT_FILE}",
    )


def _has_descriptor(settings: Settings, name: str) -> bool:
    return (settings.collections_directory / name / f"{name}.yaml").exists()


def _download_erddap_rows(survey: ServiceSurvey, settings: Settings) -> None:
    """Download the rows of new collections; a data set whose rows do not come counts as one that cannot be read."""
    names = SurveyConverter(survey, settings).names_by_schema
    for table in survey.readable_tables:
        name = names.get(table.schema)
        if name is None or _has_descriptor(settings, name):
            continue
        try:
            download_rows(survey, table, settings.collections_directory / name, settings)
        except HvenError as error:
            table.failure = error.message

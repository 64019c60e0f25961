"""Send the same queries to the old service and to Hven, and collect the differences."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hven.model.errors import UsageError, UserError
from hven.plugins.log_replay.replay import LogReplay, ReplayReport, collect_distinct_requests
from hven.plugins.service_migration.collection_drafts import SurveyConverter
from hven.plugins.service_migration.comparison_queries import QueryGenerator
from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
from hven.plugins.service_migration.service_drafts import create_source_context
from hven.plugins.service_migration.service_survey import (
    TAP_PROGRAMS,
    build_migration_directory,
    build_server_url,
    read_survey,
)
from hven.plugins.service_migration.sitools_requests import draw_sitools_requests
from hven.plugins.service_migration.sitools_survey import find_sitools_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.plugins.service_migration.service_survey import ServiceSurvey

DEFAULT_QUERY_COUNT = 500


def load_survey(settings: Settings, url: str) -> ServiceSurvey:
    """Load the survey of a migration.

    Parameters
    ----------
    settings
        Settings of the site.
    url
        Address of the old service, as it was given to ``hven migrate``.

    Raises
    ------
    UsageError
        There is none.
    """
    survey = read_survey(build_migration_directory(settings.directory, url))
    if survey is None:
        raise UsageError(f"nothing is known about {url} yet", remedy=f"run `hven migrate {url}` first")
    return survey


def compare_services(
    settings: Settings,
    url: str,
    new_url: str,
    *,
    log: Path | None,
    query_count: int,
    requests_per_second: float,
    seed: int,
    report_progress: Callable[[int, int], None],
) -> ReplayReport:
    """Compare the answers of two services: first to the requests of a log, then to generated queries.

    Parameters
    ----------
    settings
        Settings of the site.
    url, new_url
        Addresses of the old service and of the new site.
    log
        Log of the old service; None: all queries are generated.
    query_count
        Number of different requests.
    requests_per_second
        Largest number of requests per second to each service.
    seed
        Seed of the generated queries.
    report_progress
        Called with the number of requests that were sent, and of all.

    Raises
    ------
    UserError
        There is nothing to compare.
    """
    survey = load_survey(settings, url)
    report = ReplayReport(requests=[], unrepeatable=Counter())
    new_url = new_url.rstrip("/")
    if log is not None:
        recorded, report.unrepeatable = collect_distinct_requests(log, prefix="", request_limit=query_count)
        replay = LogReplay(new_url, build_server_url(survey.url), requests_per_second=requests_per_second)
        report.requests += replay.repeat_requests(recorded, report_progress)
    remaining_count = query_count - len(report.requests)
    if remaining_count > 0 and survey.program in {*TAP_PROGRAMS, "SITools2"}:
        context = create_source_context(settings)
        if survey.program == "SITools2":
            root = find_sitools_root(survey.url)
            addresses = new_url, root
            generated = draw_sitools_requests(survey, RemoteDocumentReader(root, context), remaining_count, seed)
        else:
            addresses = f"{new_url}/tap", survey.url
            collections = SurveyConverter(survey, settings).names_by_schema
            generator = QueryGenerator(survey, collections, context, seed=seed)
            generated = generator.draw_requests(remaining_count)
        replay = LogReplay(
            *addresses,
            requests_per_second=requests_per_second,
            new_targets=generated.new_targets,
            expects_refusals=False,  # each is a query that a service must answer
        )
        report.requests += replay.repeat_requests(generated.requests, report_progress)
    if not report.requests:
        raise UserError(
            f"there is no query that both {survey.url} and {new_url} can answer",
            remedy="write --log with the log of the old service",
        )
    return report

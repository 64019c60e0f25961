"""Reports of usage: monthly sums as text, CSV and JSON, and as a dataset report (DSR) of COUNTER.

The dataset report follows the COUNTER Code of Practice for Research Data, release RD1.

Common
------
report
    Result of `read_usage_report`.
context
    The site and its faces.
"""

from __future__ import annotations

import calendar
import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from hven.model.errors import ParamError
from hven.plugins.usage.usage_records import COUNT_COLUMNS, UsageCountStore, UsageKey

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.services.face import ServiceContext

MONTH_PATTERN = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
# metric (Table 6.5) -> count
METRIC_COUNTS = {
    "Total_Dataset_Investigations": "investigations",
    "Total_Dataset_Requests": "requests",
    "Unique_Dataset_Investigations": "unique_investigations",
    "Unique_Dataset_Requests": "unique_requests",
}
ACCESS_METHODS = ("regular", "machine")  # Table 6.6; reports of COUNTER exclude robots
# code and message (Table B.1)
PARTIAL_DATA_EXCEPTION = (3040, "Partial Data Returned")
NO_USAGE_EXCEPTION = (3030, "No Usage Available for Requested Dates")
REPORT_HEADINGS = ("month", "collection", "table", "service", "access", *COUNT_COLUMNS)
_TABLE_HEADINGS = (
    "Dataset_Title",
    "Publisher",
    "Publisher_ID",
    "Creators",
    "Publication_Date",
    "DOI",
    "Other_ID",
    "URI",
    "YOP",
    "Access_Method",
    "Metric_Type",
    "Reporting_Period_Total",
)
UsageCounts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """The usage in some months.

    Attributes
    ----------
    since, until
        First and last month: ``2026-01``.
    created_on
        Day of the report.
    sums
        Sums in the order of `COUNT_COLUMNS`, for the collections of the report.
    notes
        Remarks for readers: months without counts, collections that do not exist any more.
    """

    since: str
    until: str
    created_on: date
    sums: Mapping[UsageKey, Sequence[int]]
    notes: tuple[str, ...] = ()

    @property
    def months(self) -> list[str]:
        """All months in order."""
        return list(_iterate_months(self.since, self.until))

    def sum_counts_by(
        self, *keys: str, is_included: Callable[[UsageKey], bool] = lambda _: True
    ) -> dict[tuple[str, ...], UsageCounts]:
        """Add up the counts by some of their keys.

        Parameters
        ----------
        keys
            ``month``, ``collection``, ``table``, ``service``, ``access``. With tables or services, the counts of tables
            or services are added up; else those of whole collections, which count each action once.
        is_included
            Selects the counts to include.

        Returns
        -------
        sums
            Values of the keys, in order -> name of a count -> sum.
        """
        by_table = "table" in keys
        by_service = by_table or "service" in keys
        sums_by_key: dict[tuple[str, ...], UsageCounts] = {}
        for usage_key, values in self.sums.items():
            if bool(usage_key.service) != by_service or bool(usage_key.table) != by_table:
                continue
            if not is_included(usage_key):
                continue
            group_key = tuple(getattr(usage_key, key) for key in keys)
            group_sums = sums_by_key.setdefault(group_key, dict.fromkeys(COUNT_COLUMNS, 0))
            for name, value in zip(COUNT_COLUMNS, values, strict=True):
                group_sums[name] += value
        return dict(sorted(sums_by_key.items()))

    @property
    def collections(self) -> list[str]:
        """The collections with counts, in order."""
        return sorted({usage_key.collection for usage_key in self.sums if usage_key.collection})


def read_usage_report(
    context: ServiceContext,
    first_month: str | None = None,
    last_month: str | None = None,
    *,
    collections: Collection[str] | None = None,
    today: date | None = None,
) -> UsageReport:
    """Read the usage of some months.

    Parameters
    ----------
    first_month, last_month
        Months, inclusive: ``2026-01``; by default January of the year of the last month, and the current month.
    collections
        Names of the collections to include; None for all, with usage that belongs to no collection.
    today
        Day of the report; None for today (UTC).

    Returns
    -------
    report
        The usage by month.

    Raises
    ------
    ParamError
        A month is invalid, or the first is after the last.
    """
    report_date = today or datetime.now(UTC).date()
    current_month = f"{report_date:%Y-%m}"
    first = first_month or f"{(last_month or current_month)[:4]}-01"
    last = last_month or current_month
    for name, month_text in {"to": last, "from": first}.items():  # the default of the first depends on the last
        if not MONTH_PATTERN.fullmatch(month_text):
            raise ParamError(
                f"{month_text[:40]!r} is not a month", name=name, remedy="write a year and a month, such as 2026-03"
            )
    if first > last:
        raise ParamError(f"{first} is after {last}", name="from", remedy="write the earlier month first")
    all_uses = context.site.store.get_or_create(UsageCountStore).read_usage_sums()
    uses = _select_uses_of_collections(all_uses, collections)
    sums = {}
    for key, values in uses.items():
        if first <= key.month <= min(last, current_month):
            sums[key] = tuple(map(int, values))
    notes = []
    future_months = sorted({key.month for key in uses if key.month > current_month})
    if future_months:
        notes.append(
            f"{', '.join(future_months)}: these months are in the future, because the server's clock was wrong when "
            "they were counted; the report leaves them out"
        )
    if last > current_month:
        notes.append(f"{last} is in the future: the counts end on {report_date}")
    counted_months = sorted({key.month for key in all_uses if key.month <= current_month})
    if not counted_months:
        notes.append("nothing has been counted here yet")
    else:
        if first < counted_months[0]:
            notes.append(f"counting began in {counted_months[0]}; there are no counts for earlier months")
        first_counted = max(first, counted_months[0])
        last_counted = min(last, counted_months[-1])
        months = _iterate_months(first_counted, last_counted)
        silent_months = [month for month in months if month not in counted_months]
        if silent_months:
            notes.append(
                f"nothing was counted in {', '.join(silent_months)}: the site was not served, or was restored from "
                "a backup"
            )
    known_names = {*context.site.get_published_state().resources, "ivoa"}
    removed_collections = sorted({key.collection for key in sums if key.collection} - known_names)
    if removed_collections:
        notes.append(
            f"{', '.join(removed_collections)}: these collections are no longer published, or have new names; the "
            "counts stay under the old names"
        )
    return UsageReport(since=first, until=last, created_on=report_date, sums=sums, notes=tuple(notes))


def _select_uses_of_collections(
    uses: Mapping[UsageKey, tuple[int, ...]], collections: Collection[str] | None
) -> Mapping[UsageKey, tuple[int, ...]]:
    if collections is None:
        return uses
    return {key: values for key, values in uses.items() if key.collection in collections}


def iterate_usage_headings_and_rows(report: UsageReport) -> Iterator[tuple[Any, ...]]:
    """Yield all counts as lines: `REPORT_HEADINGS`, then their values.

    Lines without a service are those of whole collections.

    Yields
    ------
    line
        Values in the order of the headings.
    """
    yield REPORT_HEADINGS
    for usage_key, values in report.sums.items():
        yield (*usage_key, *values)


def write_csv(report: UsageReport) -> str:
    """Write all counts as CSV (RFC 4180).

    Returns
    -------
    text
        CSV with headings.
    """
    csv_text = io.StringIO()
    csv.writer(csv_text).writerows(iterate_usage_headings_and_rows(report))
    return csv_text.getvalue()


def usage_report_to_json(report: UsageReport) -> dict[str, Any]:
    """Return the sums for programs: of each collection by month and by service.

    Returns
    -------
    report
        Plain values.
    """
    site_sums = report.sum_counts_by("service", "access", is_included=lambda usage_key: not usage_key.collection)
    return {
        "from": report.since,
        "to": report.until,
        "created": str(report.created_on),
        "notes": list(report.notes),
        "collections": {name: _describe_collection_sums(report, name) for name in report.collections},
        "site": _split_sums_by_first_key(site_sums),
    }


def _describe_collection_sums(report: UsageReport, collection: str) -> dict[str, Any]:
    def is_of_collection(usage_key: UsageKey) -> bool:
        return usage_key.collection == collection

    sums_by_month = report.sum_counts_by("month", "access", is_included=is_of_collection)
    sums_by_service = report.sum_counts_by("service", "access", is_included=is_of_collection)
    sums_by_table = report.sum_counts_by("table", "access", is_included=is_of_collection)
    return {
        "months": _split_sums_by_first_key(sums_by_month),
        "services": _split_sums_by_first_key(sums_by_service),
        "tables": _split_sums_by_first_key(sums_by_table),
    }


def build_counter_dataset_report(report: UsageReport, context: ServiceContext) -> dict[str, Any]:
    """Build the dataset report as JSON for DataCite's usage hub (RD1, sections 6 and 11).

    Returns
    -------
    report
        Plain values.
    """
    settings = context.site.settings
    exceptions = []
    for (code, message), data in _list_counter_exceptions(report):
        exceptions.append(
            {"code": code, "severity": "warning", "message": message.lower(), "help-url": "", "data": data}
        )
    datasets = []
    for name, resource, sums in _iterate_datasets_with_monthly_counts(report, context):
        performance = _list_monthly_performance(report, sums)
        if performance:
            datasets.append({**_describe_dataset(name, resource, context), "performance": performance})
    return {
        "report-header": {
            "report-name": "dataset report",
            "report-id": "DSR",
            "release": "rd1",
            "reporting-period": {"begin-date": f"{report.since}-01", "end-date": str(_find_period_end(report))},
            "report-filters": [],
            "report-attributes": [],
            "exceptions": exceptions,
            "created": str(report.created_on),
            "created-by": settings.title or settings.name,
        },
        "report-datasets": datasets,
    }


def _list_monthly_performance(report: UsageReport, sums: Mapping[tuple[str, ...], UsageCounts]) -> list[dict[str, Any]]:
    """List the months of a dataset with counts other than 0."""
    performance = []
    for month in report.months:
        instances = []
        for method in ACCESS_METHODS:
            month_sums = sums.get((month, method), {})
            for metric, count_name in METRIC_COUNTS.items():
                count = month_sums.get(count_name)
                if count:
                    metric_type = metric.lower().replace("_", "-")
                    instances.append({"metric-type": metric_type, "access-method": method, "count": count})
        if instances:
            period = {"begin-date": f"{month}-01", "end-date": str(_find_last_reported_day_of_month(month, report))}
            performance.append({"period": period, "instance": instances})
    return performance


def write_counter_report_tsv(report: UsageReport, context: ServiceContext) -> str:
    """Write the Dataset Master Report as tab-separated text (RD1, sections 6.2 and 7).

    It has ten header lines, an empty line, headings and rows.

    Returns
    -------
    text
        Text of the report, to be encoded in UTF-8.
    """
    settings = context.site.settings
    exceptions_text = "; ".join(
        f"{code}: {message} ({data})" for (code, message), data in _list_counter_exceptions(report)
    )
    header = {
        "Report_Name": "Dataset Master Report",
        "Report_ID": "DSR",
        "Release": "RD1",
        "Metric_Types": "; ".join(METRIC_COUNTS),
        "Report_Filters": "",
        "Report_Attributes": "",
        "Exceptions": exceptions_text,
        "Reporting_Period": f"begin_date={report.since}-01; end_date={_find_period_end(report)}",
        "Created": str(report.created_on),
        "Created_By": settings.title or settings.name,
    }
    months = [month for month in report.months if month <= f"{report.created_on:%Y-%m}"]
    month_headings = [f"{date(int(month[:4]), int(month[5:]), 1):%b-%Y}" for month in months]
    rows: list[Sequence[Any]] = [[name, value] for name, value in header.items()]
    rows.append([])
    rows.append([*_TABLE_HEADINGS, *month_headings])
    for name, resource, sums in _iterate_datasets_with_monthly_counts(report, context):
        dataset_cells = _list_dataset_cells(_describe_dataset(name, resource, context))
        for method in ACCESS_METHODS:
            for metric, count_name in METRIC_COUNTS.items():
                month_counts = [sums.get((month, method), {}) for month in months]
                values = [counts.get(count_name, 0) for counts in month_counts]
                if any(values):
                    rows.append([*dataset_cells, method.capitalize(), metric, sum(values), *values])
    lines = []
    for row in rows:
        cells = [re.sub(r"[\t\r\n]+", " ", str(cell)) for cell in row]
        lines.append("\t".join(cells) + "\n")
    return "".join(lines)


def _list_dataset_cells(facts: Mapping[str, Any]) -> list[str]:
    """List the cells that describe a dataset in each of its rows."""
    ids = {identifier["type"]: identifier["value"] for identifier in facts["dataset-id"]}
    publisher_ids = [f"{identifier['type']}:{identifier['value']}" for identifier in facts["publisher-id"]]
    creators = [creator["value"] for creator in facts.get("dataset-contributors", ())]
    dates = [dataset_date["value"] for dataset_date in facts.get("dataset-dates", ())]
    return [
        facts["dataset-title"],
        facts["publisher"],
        "; ".join(publisher_ids),
        "; ".join(creators),
        dates[0] if dates else "",
        ids.get("doi", ""),
        ids.get("proprietary", ""),
        facts.get("uri", ""),
        facts["yop"],
    ]


def _iterate_datasets_with_monthly_counts(
    report: UsageReport, context: ServiceContext
) -> Iterator[tuple[str, CollectionSpec | None, Mapping[tuple[str, ...], UsageCounts]]]:
    resources = context.site.get_published_state().resources

    for name in report.collections:

        def is_of_collection(usage_key: UsageKey, name: str = name) -> bool:
            return usage_key.collection == name

        yield name, resources.get(name), report.sum_counts_by("month", "access", is_included=is_of_collection)


def _describe_dataset(collection: str, resource: CollectionSpec | None, context: ServiceContext) -> dict[str, Any]:
    """Describe a dataset; of one that does not exist any more, only the name is known.

    The kinds of identifiers are those of DataCite's hub.
    """
    settings: Settings = context.site.settings
    platform = settings.title or settings.name
    facts: dict[str, Any] = {
        "dataset-title": collection,
        "dataset-id": [{"type": "proprietary", "value": collection}],
        "platform": platform,
        "publisher": platform,
        "publisher-id": [],
        "data-type": "dataset",
        "yop": "0001",
    }
    if settings.authority:
        facts["publisher-id"] = [{"type": "urn", "value": f"ivo://{settings.authority}"}]
    if resource is None:
        return facts
    facts["dataset-title"] = resource.title
    facts["publisher"] = resource.publisher or platform
    facts["uri"] = f"{settings.site_url}/collections/{collection}"
    if resource.doi:
        facts["dataset-id"] = [{"type": "doi", "value": resource.doi}]
    if resource.creators:
        contributors = [{"type": "name", "value": creator.name} for creator in resource.creators]
        facts["dataset-contributors"] = contributors
    if resource.created:
        facts["yop"] = resource.created[:4]
        facts["dataset-dates"] = [{"type": "pub-date", "value": resource.created[:10]}]
    return facts


def _list_counter_exceptions(report: UsageReport) -> list[tuple[tuple[int, str], str]]:
    if not any(not usage_key.service and usage_key.collection for usage_key in report.sums):
        return [(NO_USAGE_EXCEPTION, f"{report.since} to {report.until}")]
    if report.notes:
        return [(PARTIAL_DATA_EXCEPTION, "; ".join(report.notes))]
    return []


def _split_sums_by_first_key(sums: Mapping[tuple[str, ...], UsageCounts]) -> dict[str, dict[str, UsageCounts]]:
    nested_sums: dict[str, dict[str, UsageCounts]] = {}
    for (first, second), values in sums.items():
        nested_sums.setdefault(first, {})[second] = values
    return nested_sums


def _iterate_months(first_month: str, last_month: str) -> Iterator[str]:
    year = int(first_month[:4])
    month = int(first_month[5:])
    month_text = first_month
    while month_text <= last_month:
        yield month_text
        month += 1
        if month > 12:
            year += 1
            month = 1
        month_text = f"{year:04d}-{month:02d}"


def _find_last_reported_day_of_month(month: str, report: UsageReport) -> date:
    year = int(month[:4])
    month_number = int(month[5:])
    if month > f"{report.created_on:%Y-%m}":
        return date(year, month_number, 1)
    _, day_count = calendar.monthrange(year, month_number)
    return min(date(year, month_number, day_count), report.created_on)


def _find_period_end(report: UsageReport) -> date:
    return _find_last_reported_day_of_month(min(report.until, f"{report.created_on:%Y-%m}"), report)

"""The report of usage: sums of months as text, CSV and JSON, and as the dataset report (DSR) of the COUNTER Code of Practice for Research Data, release RD1.

Common
------
report
    As `read_report` gives it.
context
    Site and faces.
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
from hven.site import COUNT_COLUMNS, UsageKey

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.model.resource import Resource
    from hven.model.settings import Settings
    from hven.services.face import ServiceContext

MONTH_PATTERN = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
METRIC_COUNTS = {  # Table 6.5; name -> which of the counts
    "Total_Dataset_Investigations": "investigations",
    "Total_Dataset_Requests": "requests",
    "Unique_Dataset_Investigations": "unique_investigations",
    "Unique_Dataset_Requests": "unique_requests",
}
ACCESS_METHODS = ("regular", "machine")  # Table 6.6; robots are in no report of COUNTER's
PARTIAL_DATA_EXCEPTION, NO_USAGE_EXCEPTION = (
    (3040, "Partial Data Returned"),
    (3030, "No Usage Available for Requested Dates"),
)  # Table B.1
REPORT_HEADINGS = ("month", "collection", "table", "service", "access", *COUNT_COLUMNS)
UsageCounts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What was used in some months.

    Attributes
    ----------
    since, until
        The first and the last month: ``2026-01``.
    created_on
        The day.
    sums
        By what was used, in the order of `COUNT_COLUMNS`; of the collections that it is about.
    notes
        What a reader must know of it: months without counts, collections that are gone.
    """

    since: str
    until: str
    created_on: date
    sums: Mapping[UsageKey, Sequence[int]]
    notes: tuple[str, ...] = ()

    @property
    def months(self) -> list[str]:
        """All months, in their order."""
        return list(_iterate_months(self.since, self.until))

    def sum_by(
        self, *keys: str, is_included: Callable[[UsageKey], bool] = lambda _: True
    ) -> dict[tuple[str, ...], UsageCounts]:
        """Add up by some of what was used.

        Parameters
        ----------
        keys
            ``month``, ``collection``, ``table``, ``service``, ``access``. With tables or services their lines are added
            up; else those of collections as a whole, in which each action stands once.
        is_included
            Which lines.

        Returns
        -------
        sums
            By the values of these, in their order; name of a count -> sum.
        """
        sums_by_key: dict[tuple[str, ...], UsageCounts] = {}
        for usage_key, values in self.sums.items():
            is_collection_line = not usage_key.service
            detail = "table" in keys
            if (
                not is_included(usage_key)
                or is_collection_line == ("service" in keys or detail)
                or bool(usage_key.table) != detail
            ):
                continue
            key_sums = sums_by_key.setdefault(
                tuple(getattr(usage_key, key) for key in keys), dict.fromkeys(COUNT_COLUMNS, 0)
            )
            for name, value in zip(COUNT_COLUMNS, values, strict=True):
                key_sums[name] += value
        return dict(sorted(sums_by_key.items()))


def read_report(
    context: ServiceContext,
    first_month: str | None = None,
    last_month: str | None = None,
    *,
    collections: Collection[str] | None = None,
    today: date | None = None,
) -> UsageReport:
    """Read what was used.

    Parameters
    ----------
    first_month, last_month
        Months, inclusive: ``2026-01``; None: January of this year, and this month.
    collections
        Names of those that it is about; None: all, and what is of no collection.
    today
        The day; None: today (UTC).

    Returns
    -------
    report
        By month.

    Raises
    ------
    ParamError
        They are no months, or the first is behind the last.
    """
    report_date = today or datetime.now(UTC).date()
    current_month = f"{report_date:%Y-%m}"
    first = first_month or f"{(last_month or current_month)[:4]}-01"
    last = last_month or current_month
    for name, month_text in {"from": first, "to": last}.items():
        if not MONTH_PATTERN.fullmatch(month_text):
            raise ParamError(
                f"{month_text[:40]!r} is no month", name=name, remedy="a year and a month, such as 2026-03"
            )
    if first > last:
        raise ParamError(f"{first} is behind {last}", name="from", remedy="the first month comes first")
    all_uses = context.site.store.uses.sum_months()
    mine = {item: values for item, values in all_uses.items() if collections is None or item.collection in collections}
    inside = {
        item: tuple(map(int, values))
        for item, values in mine.items()
        if first <= item.month <= min(last, current_month)
    }
    counted_months = sorted({item.month for item in all_uses if item.month <= current_month})
    published = context.site.get_published_state().resources
    notes = []
    later = sorted({item.month for item in mine if item.month > current_month})
    if later:
        notes.append(
            f"{', '.join(later)} lie ahead: the clock of the server was wrong when they were counted; they are left out"
        )
    if last > current_month:
        notes.append(f"{last} has not come yet: counted is until {report_date}")
    if not counted_months:
        notes.append("nothing has been counted here yet")
    elif first < counted_months[0]:
        notes.append(f"counting began in {counted_months[0]}: of the months before nothing is known")
    if counted_months and (
        silent := [
            item
            for item in _iterate_months(max(first, counted_months[0]), min(last, counted_months[-1]))
            if item not in counted_months
        ]
    ):
        notes.append(
            f"nothing was counted in {', '.join(silent)}: the site was not served, or its state is of a backup"
        )
    removed_collections = sorted({item.collection for item in inside if item.collection} - {*published, "ivoa"})
    if removed_collections:
        notes.append(
            f"{', '.join(removed_collections)}: published no more, or under another name now; what was counted "
            f"stays under the old one"
        )
    return UsageReport(since=first, until=last, created_on=report_date, sums=inside, notes=tuple(notes))


def iterate_lines(report: UsageReport) -> Iterator[tuple[Any, ...]]:
    """Yield everything that was counted: `REPORT_HEADINGS`, then their values.

    Lines without a service are the collections as a whole.

    Yields
    ------
    line
        In the order of the headings.
    """
    yield REPORT_HEADINGS
    for usage_key, values in report.sums.items():
        yield (*usage_key, *values)


def write_csv(report: UsageReport) -> str:
    """Write everything that was counted as CSV (RFC 4180).

    Returns
    -------
    text
        With headings.
    """
    out = io.StringIO()
    csv.writer(out).writerows(iterate_lines(report))
    return out.getvalue()


def to_json(report: UsageReport) -> dict[str, Any]:
    """Return the sums for programs: of each collection by month and by service.

    Returns
    -------
    report
        Plain values.
    """
    return {
        "from": report.since,
        "to": report.until,
        "created": str(report.created_on),
        "notes": list(report.notes),
        "collections": {
            name: {
                "months": _group_sums(
                    report.sum_by(
                        "month",
                        "access",
                        is_included=lambda usage_key, name=name: usage_key.collection == name,  # type: ignore[misc]
                    )
                ),
                "services": _group_sums(
                    report.sum_by(
                        "service",
                        "access",
                        is_included=lambda usage_key, name=name: usage_key.collection == name and not usage_key.table,  # type: ignore[misc]
                    )
                ),
                "tables": _group_sums(
                    report.sum_by(
                        "table",
                        "access",
                        is_included=lambda usage_key, name=name: usage_key.collection == name,  # type: ignore[misc]
                    )
                ),
            }
            for name in sorted({usage_key.collection for usage_key in report.sums if usage_key.collection})
        },
        "site": _group_sums(report.sum_by("service", "access", is_included=lambda usage_key: not usage_key.collection)),
    }


def build_counter_report(report: UsageReport, context: ServiceContext) -> dict[str, Any]:
    """Make the dataset report as JSON, as DataCite's hub of usage takes it (RD1, sections 6 and 11).

    Returns
    -------
    report
        Plain values.
    """
    settings = context.site.settings
    exceptions = [
        {"code": code, "severity": "warning", "message": message.lower(), "help-url": "", "data": data}
        for (code, message), data in _list_exceptions(report)
    ]
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
        "report-datasets": [
            _describe_dataset(name, resource, context) | {"performance": performance}
            for name, resource, sums in _iterate_datasets(report, context)
            if (
                performance := [
                    {
                        "period": {"begin-date": f"{month}-01", "end-date": str(_find_last_day(month, report))},
                        "instance": instance,
                    }
                    for month in report.months
                    if (
                        instance := [
                            {
                                "metric-type": metric.lower().replace("_", "-"),
                                "access-method": method,
                                "count": sums[month, method][count],
                            }
                            for method in ACCESS_METHODS
                            for metric, count in METRIC_COUNTS.items()
                            if (month, method) in sums and sums[month, method][count]
                        ]
                    )
                ]
            )
        ],
    }


def write_counter_table(report: UsageReport, context: ServiceContext) -> str:
    """Make the Dataset Master Report as text with tabs (RD1, sections 6.2 and 7).

    Ten lines of a header, an empty one, headings, rows.

    Returns
    -------
    text
        UTF-8 once it is bytes.
    """
    settings = context.site.settings
    exceptions_text = "; ".join(f"{code}: {message} ({data})" for (code, message), data in _list_exceptions(report))
    head = {
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
    rows: list[Sequence[Any]] = [[name, value] for name, value in head.items()]
    rows += [
        [],
        [
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
            *(f"{date(int(item[:4]), int(item[5:]), 1):%b-%Y}" for item in months),
        ],
    ]
    for name, resource, sums in _iterate_datasets(report, context):
        facts = _describe_dataset(name, resource, context)
        ids = {item["type"]: item["value"] for item in facts["dataset-id"]}
        begin = [
            facts["dataset-title"],
            facts["publisher"],
            "; ".join(f"{item['type']}:{item['value']}" for item in facts["publisher-id"]),
            "; ".join(item["value"] for item in facts.get("dataset-contributors", ())),
            next((item["value"] for item in facts.get("dataset-dates", ())), ""),
            ids.get("doi", ""),
            ids.get("proprietary", ""),
            facts.get("uri", ""),
            facts["yop"],
        ]
        for method in ACCESS_METHODS:
            for metric, count in METRIC_COUNTS.items():
                values = [sums.get((month, method), {}).get(count, 0) for month in months]
                if any(values):
                    rows.append([*begin, method.capitalize(), metric, sum(values), *values])
    return "".join("\t".join(re.sub(r"[\t\r\n]+", " ", str(cell)) for cell in row) + "\n" for row in rows)


def _iterate_datasets(
    report: UsageReport, context: ServiceContext
) -> Iterator[tuple[str, Resource | None, Mapping[tuple[str, ...], UsageCounts]]]:
    resources = context.site.get_published_state().resources
    for name in sorted({usage_key.collection for usage_key in report.sums if usage_key.collection}):
        yield (
            name,
            resources.get(name),
            report.sum_by("month", "access", is_included=lambda usage_key, name=name: usage_key.collection == name),  # type: ignore[misc]
        )


def _describe_dataset(name: str, resource: Resource | None, context: ServiceContext) -> dict[str, Any]:
    """Describe a dataset; of one that is gone its name is known.

    Kinds of identifiers are those that DataCite's hub knows.
    """
    settings: Settings = context.site.settings
    platform = settings.title or settings.name
    if resource is not None:
        creation_date = resource.created or ""
    else:
        creation_date = ""
    facts: dict[str, Any] = {
        "dataset-title": resource.title if resource is not None else name,
        "dataset-id": [{"type": "doi", "value": resource.doi}]
        if resource is not None and resource.doi
        else [{"type": "proprietary", "value": name}],
        "platform": platform,
        "publisher": (resource.publisher if resource is not None else None) or platform,
        "publisher-id": [{"type": "urn", "value": f"ivo://{settings.authority}"}] if settings.authority else [],
        "data-type": "dataset",
        "yop": creation_date[:4] or "0001",
    }
    if resource is not None:
        facts["uri"] = f"{settings.site_url}/collections/{name}"
        if resource.creators:
            facts["dataset-contributors"] = [{"type": "name", "value": creator.name} for creator in resource.creators]
        if creation_date:
            facts["dataset-dates"] = [{"type": "pub-date", "value": creation_date[:10]}]
    return facts


def _list_exceptions(report: UsageReport) -> list[tuple[tuple[int, str], str]]:
    if not any(not usage_key.service and usage_key.collection for usage_key in report.sums):
        return [(NO_USAGE_EXCEPTION, f"{report.since} to {report.until}")]
    if report.notes:
        return [(PARTIAL_DATA_EXCEPTION, "; ".join(report.notes))]
    return []


def _group_sums(sums: Mapping[tuple[str, ...], UsageCounts]) -> dict[str, dict[str, UsageCounts]]:
    nested_sums: dict[str, dict[str, UsageCounts]] = {}
    for (first, second), values in sums.items():
        nested_sums.setdefault(first, {})[second] = values
    return nested_sums


def _iterate_months(first_month: str, last_month: str) -> Iterator[str]:
    year = int(first_month[:4])
    month = int(first_month[5:])
    while (month_text := f"{year:04d}-{month:02d}") <= last_month:
        yield month_text
        if month == 12:
            year, month = (year + 1, 1)
        else:
            year, month = (year, month + 1)


def _find_last_day(month: str, report: UsageReport) -> date:
    year = int(month[:4])
    number = int(month[5:])
    if month <= f"{report.created_on:%Y-%m}":
        return min(date(year, number, calendar.monthrange(year, number)[1]), report.created_on)
    return date(year, number, 1)


def _find_period_end(report: UsageReport) -> date:
    return _find_last_day(min(report.until, f"{report.created_on:%Y-%m}"), report)

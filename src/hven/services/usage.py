"""The report of usage: sums of months as text, CSV and JSON, and as the dataset report (DSR) of the COUNTER Code of Practice for Research Data, release RD1.

Common
------
report
    As `read` gives it.
around
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
from hven.site import COUNTS, Used

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.model.resource import Resource
    from hven.model.settings import Settings
    from hven.services.face import Surroundings

MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
METRICS = {  # Table 6.5; name -> which of the counts
    "Total_Dataset_Investigations": "investigations",
    "Total_Dataset_Requests": "requests",
    "Unique_Dataset_Investigations": "unique_investigations",
    "Unique_Dataset_Requests": "unique_requests",
}
METHODS = ("regular", "machine")  # Table 6.6; robots are in no report of COUNTER's
PARTIAL, NOTHING = (3040, "Partial Data Returned"), (3030, "No Usage Available for Requested Dates")  # Table B.1
HEADINGS = ("month", "collection", "table", "service", "access", *COUNTS)
Sums = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was used in some months.

    Attributes
    ----------
    since, until
        The first and the last month: ``2026-01``.
    made
        The day.
    sums
        By what was used, in the order of `COUNTS`; of the collections that it is about.
    notes
        What a reader must know of it: months without counts, collections that are gone.
    """

    since: str
    until: str
    made: date
    sums: Mapping[Used, Sequence[int]]
    notes: tuple[str, ...] = ()

    @property
    def months(self) -> list[str]:
        """All months, in their order."""
        return list(_months(self.since, self.until))

    def by(self, *keys: str, of: Callable[[Used], bool] = lambda _: True) -> dict[tuple[str, ...], Sums]:
        """Add up by some of what was used.

        Parameters
        ----------
        keys
            ``month``, ``collection``, ``table``, ``service``, ``access``. With tables or services their lines are added up; else those of
            collections as a whole, in which each action stands once.
        of
            Which lines.

        Returns
        -------
        sums
            By the values of these, in their order; name of a count -> sum.
        """
        found: dict[tuple[str, ...], Sums] = {}
        for one, values in self.sums.items():
            whole = not one.service
            detail = "table" in keys
            if not of(one) or whole == ("service" in keys or detail) or bool(one.table) != detail:
                continue
            known = found.setdefault(tuple(getattr(one, key) for key in keys), dict.fromkeys(COUNTS, 0))
            for name, value in zip(COUNTS, values, strict=True):
                known[name] += value
        return dict(sorted(found.items()))


def read(
    around: Surroundings,
    since: str | None = None,
    until: str | None = None,
    *,
    collections: Collection[str] | None = None,
    today: date | None = None,
) -> Report:
    """Read what was used.

    Parameters
    ----------
    since, until
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
    made = today or datetime.now(UTC).date()
    this = f"{made:%Y-%m}"
    first, last = since or f"{(until or this)[:4]}-01", until or this
    for name, given in {"from": first, "to": last}.items():
        if not MONTH.fullmatch(given):
            raise ParamError(f"{given[:40]!r} is no month", name=name, remedy="a year and a month, such as 2026-03")
    if first > last:
        raise ParamError(f"{first} is behind {last}", name="from", remedy="the first month comes first")
    found = around.site.store.uses.all()
    mine = {one: values for one, values in found.items() if collections is None or one.collection in collections}
    inside = {one: tuple(map(int, values)) for one, values in mine.items() if first <= one.month <= min(last, this)}
    known = sorted({one.month for one in found if one.month <= this})
    published = around.site.current().resources
    notes = []
    if later := sorted({one.month for one in mine if one.month > this}):
        notes.append(f"{', '.join(later)} lie ahead: the clock of the server was wrong when they were counted; they are left out")  # fmt: skip
    if last > this:
        notes.append(f"{last} has not come yet: counted is until {made}")
    if not known:
        notes.append("nothing has been counted here yet")
    elif first < known[0]:
        notes.append(f"counting began in {known[0]}: of the months before nothing is known")
    if known and (silent := [one for one in _months(max(first, known[0]), min(last, known[-1])) if one not in known]):
        notes.append(
            f"nothing was counted in {', '.join(silent)}: the site was not served, or its state is of a backup"
        )
    if gone := sorted({one.collection for one in inside if one.collection} - {*published, "ivoa"}):
        notes.append(f"{', '.join(gone)}: published no more, or under another name now; what was counted stays under the old one")  # fmt: skip
    return Report(since=first, until=last, made=made, sums=inside, notes=tuple(notes))


def lines(report: Report) -> Iterator[tuple[Any, ...]]:
    """Yield everything that was counted: `HEADINGS`, then their values. Lines without a service are the collections as a whole.

    Yields
    ------
    line
        In the order of the headings.
    """
    yield HEADINGS
    for one, values in report.sums.items():
        yield (*one, *values)


def as_csv(report: Report) -> str:
    """Write everything that was counted as CSV (RFC 4180).

    Returns
    -------
    text
        With headings.
    """
    out = io.StringIO()
    csv.writer(out).writerows(lines(report))
    return out.getvalue()


def as_json(report: Report) -> dict[str, Any]:
    """Return the sums for programs: of each collection by month and by service.

    Returns
    -------
    report
        Plain values.
    """
    return {
        "from": report.since,
        "to": report.until,
        "created": str(report.made),
        "notes": list(report.notes),
        "collections": {
            name: {
                "months": _nested(report.by("month", "access", of=lambda one, name=name: one.collection == name)),  # type: ignore[misc]
                "services": _nested(report.by("service", "access", of=lambda one, name=name: one.collection == name and not one.table)),  # type: ignore[misc]
                "tables": _nested(report.by("table", "access", of=lambda one, name=name: one.collection == name)),  # type: ignore[misc]
            }
            for name in sorted({one.collection for one in report.sums if one.collection})
        },
        "site": _nested(report.by("service", "access", of=lambda one: not one.collection)),
    }  # fmt: skip


def counter(report: Report, around: Surroundings) -> dict[str, Any]:
    """Make the dataset report as JSON, as DataCite's hub of usage takes it (RD1, sections 6 and 11).

    Returns
    -------
    report
        Plain values.
    """
    settings = around.site.settings
    exceptions = [
        {"code": code, "severity": "warning", "message": message.lower(), "help-url": "", "data": data}
        for (code, message), data in _exceptions(report)
    ]
    return {
        "report-header": {
            "report-name": "dataset report",
            "report-id": "DSR",
            "release": "rd1",
            "reporting-period": {"begin-date": f"{report.since}-01", "end-date": str(_end(report))},
            "report-filters": [],
            "report-attributes": [],
            "exceptions": exceptions,
            "created": str(report.made),
            "created-by": settings.title or settings.name,
        },
        "report-datasets": [
            _described(name, resource, around) | {"performance": performance}
            for name, resource, sums in _datasets(report, around)
            if (performance := [
                {"period": {"begin-date": f"{month}-01", "end-date": str(_last_day(month, report))}, "instance": instance}
                for month in report.months
                if (instance := [
                    {"metric-type": metric.lower().replace("_", "-"), "access-method": method, "count": sums[month, method][count]}
                    for method in METHODS
                    for metric, count in METRICS.items()
                    if (month, method) in sums and sums[month, method][count]
                ])
            ])
        ],
    }  # fmt: skip


def tabular(report: Report, around: Surroundings) -> str:
    """Make the Dataset Master Report as text with tabs (RD1, sections 6.2 and 7): ten lines of a header, an empty one, headings, rows.

    Returns
    -------
    text
        UTF-8 once it is bytes.
    """
    settings = around.site.settings
    said = "; ".join(f"{code}: {message} ({data})" for (code, message), data in _exceptions(report))
    head = {
        "Report_Name": "Dataset Master Report",
        "Report_ID": "DSR",
        "Release": "RD1",
        "Metric_Types": "; ".join(METRICS),
        "Report_Filters": "",
        "Report_Attributes": "",
        "Exceptions": said,
        "Reporting_Period": f"begin_date={report.since}-01; end_date={_end(report)}",
        "Created": str(report.made),
        "Created_By": settings.title or settings.name,
    }
    months = [month for month in report.months if month <= f"{report.made:%Y-%m}"]
    rows: list[Sequence[Any]] = [[name, value] for name, value in head.items()]
    rows += [[], [
        "Dataset_Title", "Publisher", "Publisher_ID", "Creators", "Publication_Date", "DOI", "Other_ID", "URI", "YOP", "Access_Method", "Metric_Type",
        "Reporting_Period_Total", *(f"{date(int(one[:4]), int(one[5:]), 1):%b-%Y}" for one in months),
    ]]  # fmt: skip
    for name, resource, sums in _datasets(report, around):
        facts = _described(name, resource, around)
        ids = {one["type"]: one["value"] for one in facts["dataset-id"]}
        begin = [
            facts["dataset-title"], facts["publisher"], "; ".join(f"{one['type']}:{one['value']}" for one in facts["publisher-id"]),
            "; ".join(one["value"] for one in facts.get("dataset-contributors", ())), next((one["value"] for one in facts.get("dataset-dates", ())), ""),
            ids.get("doi", ""), ids.get("proprietary", ""), facts.get("uri", ""), facts["yop"],
        ]  # fmt: skip
        for method in METHODS:
            for metric, count in METRICS.items():
                values = [sums.get((month, method), {}).get(count, 0) for month in months]
                if any(values):
                    rows.append([*begin, method.capitalize(), metric, sum(values), *values])
    return "".join("\t".join(re.sub(r"[\t\r\n]+", " ", str(cell)) for cell in row) + "\n" for row in rows)


def _datasets(
    report: Report, around: Surroundings
) -> Iterator[tuple[str, Resource | None, Mapping[tuple[str, ...], Sums]]]:
    resources = around.site.current().resources
    for name in sorted({one.collection for one in report.sums if one.collection}):
        yield name, resources.get(name), report.by("month", "access", of=lambda one, name=name: one.collection == name)  # type: ignore[misc]  # fmt: skip


def _described(name: str, resource: Resource | None, around: Surroundings) -> dict[str, Any]:
    """Describe a dataset; of one that is gone its name is known. Kinds of identifiers are those that DataCite's hub knows."""
    settings: Settings = around.site.settings
    platform = settings.title or settings.name
    made = (resource.created or "") if resource is not None else ""
    facts: dict[str, Any] = {
        "dataset-title": resource.title if resource is not None else name,
        "dataset-id": [{"type": "doi", "value": resource.doi}] if resource is not None and resource.doi else [{"type": "proprietary", "value": name}],
        "platform": platform,
        "publisher": (resource.publisher if resource is not None else None) or platform,
        "publisher-id": [{"type": "urn", "value": f"ivo://{settings.authority}"}] if settings.authority else [],
        "data-type": "dataset",
        "yop": made[:4] or "0001",
    }  # fmt: skip
    if resource is not None:
        facts["uri"] = f"{settings.url}/collections/{name}"
        if resource.creators:
            facts["dataset-contributors"] = [{"type": "name", "value": one.name} for one in resource.creators]
        if made:
            facts["dataset-dates"] = [{"type": "pub-date", "value": made[:10]}]
    return facts


def _exceptions(report: Report) -> list[tuple[tuple[int, str], str]]:
    if not any(not one.service and one.collection for one in report.sums):
        return [(NOTHING, f"{report.since} to {report.until}")]
    return [(PARTIAL, "; ".join(report.notes))] if report.notes else []


def _nested(sums: Mapping[tuple[str, ...], Sums]) -> dict[str, dict[str, Sums]]:
    found: dict[str, dict[str, Sums]] = {}
    for (first, second), values in sums.items():
        found.setdefault(first, {})[second] = values
    return found


def _months(since: str, until: str) -> Iterator[str]:
    year, month = int(since[:4]), int(since[5:])
    while (one := f"{year:04d}-{month:02d}") <= until:
        yield one
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def _last_day(month: str, report: Report) -> date:
    year, number = int(month[:4]), int(month[5:])
    return min(date(year, number, calendar.monthrange(year, number)[1]), report.made) if month <= f"{report.made:%Y-%m}" else date(year, number, 1)  # fmt: skip


def _end(report: Report) -> date:
    return _last_day(min(report.until, f"{report.made:%Y-%m}"), report)

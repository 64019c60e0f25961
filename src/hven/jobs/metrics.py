"""Metrics in Prometheus' text format 0.0.4.

What the processes of a server have counted, and how its collections are.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

from hven.jobs.health import FAILING_STATE, FRESH_STATE, HELD_STATE, PAUSED_STATE, STALE_STATE, UNSCHEDULED_STATE
from hven.site.counters import TIME_BUCKETS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.jobs.health import HealthCheck, SiteStatus
    from hven.site.counters import ProcessCounters

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SIZE_METRICS = ("sent_bytes_total", "query_rows_total")
_COLLECTION_TIMES = tuple(
    (name, about, attrgetter(attribute))
    for name, about, attribute in (
        ("collection_success_time_seconds", "When the last good sync or ingest ended.", "succeeded"),
        ("collection_stale_time_seconds", "When it becomes stale without another.", "limit"),
        ("collection_modified_time_seconds", "Last modification seen in the source.", "modified"),
        ("collection_next_time_seconds", "When it is synchronised next.", "next"),
        ("collection_verified_time_seconds", "When its files were last seen to be what was published.", "verified"),
    )
)
COLLECTION_STATES = (FRESH_STATE, FAILING_STATE, STALE_STATE, HELD_STATE, PAUSED_STATE, UNSCHEDULED_STATE)

Sample = tuple[str, dict[str, str], float | None]  # what is added to the name, labels, value


def format_metrics(
    status: SiteStatus,
    checks: Sequence[HealthCheck],
    counters: ProcessCounters,
    *,
    version: str,
    site_variant: str | None,
    start_time: datetime,
    include_sizes: bool = True,
) -> str:
    """Serialize all metrics of a server.

    Parameters
    ----------
    status
        With the collections that the reader may know of.
    checks
        Of the service.
    counters
        Of its processes.
    version
        Of Hven.
    site_variant
        Of the site (`settings.variant`); None: it is the only one.
    start_time
        When this process began.
    include_sizes
        Tell also how many rows and bytes all readers together were given: what others were shows how much is hidden
        from who asks.

    Returns
    -------
    text
        Lines of Prometheus' format.
    """
    lines: list[str] = []
    for name, kind, help_text, samples in (
        *_list_server_metrics(checks, version, site_variant, start_time),
        *_list_request_metrics(counters),
        *_list_collection_metrics(status),
    ):
        is_shown = include_sizes or name not in SIZE_METRICS
        shown_samples = [(suffix, labels, value) for suffix, labels, value in samples if value is not None and is_shown]
        if shown_samples:
            lines += [f"# HELP hven_{name} {help_text}", f"# TYPE hven_{name} {kind}"]
            lines += [
                f"hven_{name}{suffix}{_format_labels(labels)} {_format_number(value)}"
                for suffix, labels, value in shown_samples
            ]
    return "\n".join(lines) + "\n"


def _list_server_metrics(
    checks: Sequence[HealthCheck], version: str, variant: str | None, start_time: datetime
) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    yield (
        "info",
        "gauge",
        "Version and variant of the server.",
        [("", {"version": version, "variant": variant or ""}, 1)],
    )
    yield "start_time_seconds", "gauge", "When the process began that answers.", [("", {}, start_time.timestamp())]
    values = {"ok": 1.0, "warning": 0.5, "failed": 0.0}
    yield (
        "check",
        "gauge",
        "1: well, 0.5: it goes on with less, 0: queries cannot be answered.",
        [("", {"check": check.name}, values[check.state]) for check in checks],
    )


def _list_request_metrics(counters: ProcessCounters) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    totals = counters.sum_processes()
    yield "requests_running", "gauge", "Requests that are being answered.", [("", {}, totals.running_requests)]
    yield (
        "requests_total",
        "counter",
        "Requests by face and class of status; left: the reader did not wait.",
        [("", {"face": face, "status": status}, count) for (face, status), count in totals.requests_by_status.items()],
    )
    samples: list[Sample] = []
    for face, times in totals.time_histograms.items():
        if not sum(times):
            continue
        total = 0
        for bound, count in zip((*TIME_BUCKETS_SECONDS, math.inf), times, strict=True):
            total += count
            samples.append(("_bucket", {"face": face, "le": _format_number(bound)}, total))
        samples += [("_sum", {"face": face}, totals.seconds_by_service[face]), ("_count", {"face": face}, total)]
    yield "request_seconds", "histogram", "Seconds from a request to the end of its answer.", samples
    sent_bytes = [("", {"face": face}, float(count)) for face, count in totals.bytes_by_service.items() if count]
    yield "sent_bytes_total", "counter", "Bytes of answers, without their heads.", sent_bytes
    yield "queries_running", "gauge", "Queries that run.", [("", {}, totals.running_queries)]
    yield "queries_total", "counter", "Queries that have ended, or were refused.", [("", {}, totals.query_count)]
    yield "query_rows_total", "counter", "Rows that queries gave.", [("", {}, totals.row_count)]
    yield (
        "query_seconds_total",
        "counter",
        "Seconds that queries ran, their readers' pauses included.",
        [("", {}, totals.query_seconds)],
    )
    yield (
        "query_errors_total",
        "counter",
        "Queries that ended in an error, by its kind.",
        [("", {"kind": kind}, count) for kind, count in totals.errors_by_kind.items()],
    )


def _list_collection_metrics(status: SiteStatus) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    items = status.collections

    def build_samples(values: Iterable[float | None]) -> list[Sample]:
        return [("", {"collection": item.collection}, value) for item, value in zip(items, values, strict=True)]

    yield "collection_rows", "gauge", "Rows that are published.", build_samples(item.rows for item in items)
    yield (
        "collection_lag_seconds",
        "gauge",
        "Seconds since the last good sync or ingest.",
        build_samples(item.lag for item in items),
    )
    for name, help_text, read in _COLLECTION_TIMES:
        yield name, "gauge", help_text, build_samples(_parse_timestamp(read(item)) for item in items)
    yield (
        "collection_damaged",
        "gauge",
        "Tables whose published rows are damaged.",
        build_samples(float(len(item.damaged)) for item in items),
    )
    yield (
        "collection_failures",
        "gauge",
        "Runs in a row that failed.",
        build_samples(item.failures if item.timing else None for item in items),
    )
    yield (
        "collection_running",
        "gauge",
        "1 while it is synchronised or ingested.",
        build_samples(float(item.running is not None) for item in items),
    )
    yield (
        "collection_state",
        "gauge",
        "1 for the state that it is in.",
        [
            ("", {"collection": item.collection, "state": state}, float(item.state == state))
            for item in items
            for state in COLLECTION_STATES
        ],
    )
    for key, help_text in (
        ("size", "Connections that there may be."),
        ("used", "Connections that are in use."),
        ("kept", "Connections that wait."),
    ):
        samples: list[Sample] = [("", {"engine": name}, facts.get(key)) for name, facts in status.engines.items()]
        yield f"engine_connections_{key}", "gauge", help_text, samples


def _parse_timestamp(text: str | None) -> float | None:
    """Read an ISO time; a watermark that is none has no metric."""
    if text is None:
        return None
    try:
        parsed_time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (parsed_time if parsed_time.tzinfo is not None else parsed_time.replace(tzinfo=UTC)).timestamp()


def _format_labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items()) + "}"


def _escape_label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _format_number(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    if float(value).is_integer():
        return str(int(value))
    return repr(float(value))

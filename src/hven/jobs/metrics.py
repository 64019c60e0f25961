"""Metrics in Prometheus' text format 0.0.4: the counters of a server's processes, and the status of its collections.

Modules of packages at the extension point ``hven.metrics`` add metrics, which only users who may see all of the health
get: ``list_metrics()`` yields (name, kind, help text, samples), with samples of (suffix, labels, value).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from hven.jobs.health import FAILING_STATE, FRESH_STATE, HELD_STATE, PAUSED_STATE, STALE_STATE, UNSCHEDULED_STATE
from hven.model import plugins
from hven.site.counters import TIME_BUCKETS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.jobs.health import CollectionStatus, HealthCheckResult, SiteStatus
    from hven.site.counters import ProcessCounters

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SIZE_METRICS = ("sent_bytes_total", "query_rows_total")
_COLLECTION_TIMES = (
    ("collection_last_success_timestamp_seconds", "When the last good sync or ingest ended.", "succeeded"),
    ("collection_stale_timestamp_seconds", "When the collection becomes stale if no further run succeeds.", "limit"),
    ("collection_modified_timestamp_seconds", "Last modification seen in the source.", "modified"),
    ("collection_next_run_timestamp_seconds", "When the collection is synchronised next.", "next"),
    ("collection_verified_timestamp_seconds", "When its files were last verified.", "verified"),
)
COLLECTION_STATES = (FRESH_STATE, FAILING_STATE, STALE_STATE, HELD_STATE, PAUSED_STATE, UNSCHEDULED_STATE)

Sample = tuple[str, dict[str, str], float | None]  # suffix of the name, labels, value


def format_prometheus_metrics(
    status: SiteStatus,
    checks: Sequence[HealthCheckResult],
    counters: ProcessCounters,
    *,
    version: str,
    site_variant: str | None,
    start_time: datetime,
    include_sizes: bool = True,
) -> str:
    """Format all metrics of a server.

    Parameters
    ----------
    status
        Status of the collections that the client can see.
    checks
        Checks of the service.
    counters
        Counters of its processes.
    version
        Version of Hven.
    site_variant
        Variant of the site (`settings.variant`); None: it is the only one.
    start_time
        Start of this process.
    include_sizes
        Include the numbers of rows and bytes that all clients received. Compared with the client's own answers, they
        would show how much is hidden from it.

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
        *(_list_package_metrics() if include_sizes else ()),
    ):
        if name in SIZE_METRICS and not include_sizes:
            continue
        sample_lines = []
        for suffix, labels, value in samples:
            if value is not None:
                sample_lines.append(f"hven_{name}{suffix}{_format_labels(labels)} {_format_metric_value(value)}")
        if sample_lines:
            lines += [f"# HELP hven_{name} {help_text}", f"# TYPE hven_{name} {kind}", *sample_lines]
    return "\n".join(lines) + "\n"


def _list_server_metrics(
    checks: Sequence[HealthCheckResult], version: str, variant: str | None, start_time: datetime
) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    info_labels = {"version": version, "variant": variant or ""}
    yield "info", "gauge", "Version and variant of the server.", [("", info_labels, 1)]
    yield "start_time_seconds", "gauge", "When the answering process started.", [("", {}, start_time.timestamp())]
    values = {"ok": 1.0, "warning": 0.5, "failed": 0.0}
    check_samples: list[Sample] = [("", {"check": check.name}, values[check.state]) for check in checks]
    yield "check", "gauge", "1: good, 0.5: working with restrictions, 0: queries cannot be answered.", check_samples


def _list_request_metrics(counters: ProcessCounters) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    totals = counters.sum_process_counters()
    yield "requests_running", "gauge", "Requests that are being answered.", [("", {}, totals.running_requests)]
    request_samples: list[Sample] = []
    for (face, status), count in totals.requests_by_status.items():
        request_samples.append(("", {"face": face, "status": status}, count))
    help_text = "Requests by face and class of status; left: the client disconnected."
    yield "requests_total", "counter", help_text, request_samples
    time_samples: list[Sample] = []
    for face, times in totals.time_histograms.items():
        if not sum(times):
            continue
        total = 0
        for bound, count in zip((*TIME_BUCKETS_SECONDS, math.inf), times, strict=True):
            total += count
            time_samples.append(("_bucket", {"face": face, "le": _format_metric_value(bound)}, total))
        time_samples.append(("_sum", {"face": face}, totals.seconds_by_service[face]))
        time_samples.append(("_count", {"face": face}, total))
    yield "request_duration_seconds", "histogram", "Seconds from a request to the end of its answer.", time_samples
    sent_bytes = [("", {"face": face}, float(count)) for face, count in totals.bytes_by_service.items() if count]
    yield "sent_bytes_total", "counter", "Bytes of answers, without headers.", sent_bytes
    yield "queries_running", "gauge", "Queries that are running.", [("", {}, totals.running_queries)]
    yield "queries_total", "counter", "Queries that have ended or were refused.", [("", {}, totals.query_count)]
    yield "query_rows_total", "counter", "Rows that queries returned.", [("", {}, totals.row_count)]
    help_text = "Seconds that queries ran, including pauses of their readers."
    yield "query_seconds_total", "counter", help_text, [("", {}, totals.query_seconds)]
    error_samples: list[Sample] = [("", {"kind": kind}, count) for kind, count in totals.errors_by_kind.items()]
    yield "query_errors_total", "counter", "Queries that ended with an error, by its kind.", error_samples
    for package in plugins.list_plugin_packages():
        for name, help_text in package.counters.items():
            yield name, "counter", help_text, [("", {}, totals.event_counts.get(name))]


def _list_package_metrics() -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    for module in plugins.load_extensions("hven.metrics"):
        yield from module.list_metrics()


def _list_collection_metrics(status: SiteStatus) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    collections = status.collections

    def build_samples(read_value: Callable[[CollectionStatus], float | None]) -> list[Sample]:
        return [("", {"collection": entry.collection}, read_value(entry)) for entry in collections]

    row_samples = build_samples(attrgetter("rows"))
    yield "collection_rows", "gauge", "Published rows.", row_samples
    lag_samples = build_samples(attrgetter("lag"))
    yield "collection_lag_seconds", "gauge", "Seconds since the last good sync or ingest.", lag_samples
    for name, help_text, attribute in _COLLECTION_TIMES:
        read_timestamp = partial(_read_status_timestamp, attribute)
        yield name, "gauge", help_text, build_samples(read_timestamp)
    damage_samples = build_samples(lambda entry: float(len(entry.damaged)))
    yield "collection_damaged", "gauge", "Tables whose published rows are damaged.", damage_samples
    failure_samples = build_samples(lambda entry: entry.failures if entry.timing else None)
    yield "collection_failures", "gauge", "Failed runs in a row.", failure_samples
    running_samples = build_samples(lambda entry: float(entry.running is not None))
    yield "collection_running", "gauge", "1 while the collection is synchronised or ingested.", running_samples
    state_samples: list[Sample] = []
    for entry in collections:
        for state in COLLECTION_STATES:
            labels = {"collection": entry.collection, "state": state}
            state_samples.append(("", labels, float(entry.state == state)))
    yield "collection_state", "gauge", "1 for the present state of the collection.", state_samples
    for key, help_text in (
        ("size", "Maximum number of connections."),
        ("used", "Connections in use."),
        ("kept", "Idle connections."),
    ):
        engine_samples: list[Sample] = [
            ("", {"engine": name}, facts.get(key)) for name, facts in status.engines.items()
        ]
        yield f"engine_connections_{key}", "gauge", help_text, engine_samples


def _read_status_timestamp(attribute: str, status: CollectionStatus) -> float | None:
    return _parse_timestamp(getattr(status, attribute))


def _parse_timestamp(text: str | None) -> float | None:
    """Parse an ISO time; None for other texts, such as a watermark that is no time."""
    if text is None:
        return None
    try:
        parsed_time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if parsed_time.tzinfo is None:
        parsed_time = parsed_time.replace(tzinfo=UTC)
    return parsed_time.timestamp()


def _format_labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}"


def _escape_label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _format_metric_value(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    if float(value).is_integer():
        return str(int(value))
    return repr(float(value))

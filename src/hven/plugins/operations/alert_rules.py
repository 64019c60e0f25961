"""The verb ``hven alerts``: rules for Prometheus that fit the metrics and the settings of the site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from hven.app.api import load_site_settings
from hven.jobs.health import MIN_FREE_DISK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings

DAY_SECONDS = 86_400
MIN_FAILURES = 3
FORECAST_DAYS = 5
SERVER_FAULT_KINDS = "ServiceError|StorageError|Timeout|Overloaded"


class AlertRule(NamedTuple):
    """A rule: the alert is sent if the expression has been true for the duration.

    The texts can use the labels of the metric as Prometheus writes them: ``{{ $labels.collection }}``.
    """

    name: str
    severity: str
    expression: str
    duration: str
    summary: str
    action: str


def print_alert_rules(
    context: typer.Context,
    *,
    job: Annotated[str, typer.Option(help="The job_name of the site in prometheus.yml.")] = "hven",
) -> None:
    """Print alert rules for Prometheus.

    Write them to a file that rule_files in prometheus.yml names.
    """
    print(format_alert_rules(list_alert_rules(load_site_settings(context), job)), end="")


def list_alert_rules(settings: Settings, job: str) -> list[AlertRule]:
    """List the rules for a site.

    Parameters
    ----------
    settings
        Settings of the site.
    job
        Name of the site's job in Prometheus.
    """
    selector = f"job={json.dumps(job)}"
    rules = [
        AlertRule("HvenDown", "critical", f"up{{{selector}}} == 0", "2m", "Hven does not respond", "start the server"),
        AlertRule(
            "HvenCheckFailed",
            "critical",
            f"hven_check{{{selector}}} == 0",
            "1m",
            "queries fail: the check {{ $labels.check }} failed",
            "run `hven doctor`",
        ),
        AlertRule(
            "HvenCheckWarning",
            "warning",
            f"hven_check{{{selector}}} == 0.5",
            "15m",
            "the check {{ $labels.check }} reports a restriction",
            "run `hven doctor`",
        ),
        AlertRule(
            "HvenRowsDamaged",
            "critical",
            f"hven_collection_damaged{{{selector}}} > 0",
            "0m",
            "published rows of {{ $labels.collection }} are damaged",
            "check the disk, then run `hven ingest {{ $labels.collection }}`",
        ),
        AlertRule(
            "HvenCollectionStale",
            "warning",
            f'hven_collection_state{{{selector}, state="stale"}} == 1',
            "5m",
            "{{ $labels.collection }} does not follow its source",
            "run `hven doctor`",
        ),
        AlertRule(
            "HvenCollectionFails",
            "warning",
            f"hven_collection_failures{{{selector}}} >= {MIN_FAILURES}",
            "0m",
            "{{ $value }} runs of {{ $labels.collection }} failed in a row",
            "run `hven history {{ $labels.collection }}`",
        ),
        AlertRule(
            "HvenServerErrors",
            "warning",
            f'sum by (instance) (rate(hven_requests_total{{{selector}, status="5xx"}}[10m]))'
            f" / sum by (instance) (rate(hven_requests_total{{{selector}}}[10m])) > 0.01",
            "10m",
            "more than 1 % of the requests fail",
            "look for lines of the log with level ERROR",
        ),
        AlertRule(
            "HvenQueriesFail",
            "warning",
            "sum by (instance, kind) "
            f'(rate(hven_query_errors_total{{{selector}, kind=~"{SERVER_FAULT_KINDS}"}}[10m])) > 0.1',
            "10m",
            "queries end with {{ $labels.kind }}",
            "run `hven queries`",
        ),
    ]
    rules += [
        AlertRule(
            "HvenDiskFills",
            "warning",
            f"predict_linear(hven_disk_free_bytes{{{selector}}}[1d], {FORECAST_DAYS * DAY_SECONDS}) < 0",
            "2h",
            f"the disk of {{{{ $labels.directory }}}} will be full in less than {FORECAST_DAYS} days",
            "free some space, or extend the disk",
        ),
        AlertRule(
            "HvenDiskFull",
            "critical",
            f"hven_disk_free_bytes{{{selector}}} < {MIN_FREE_DISK_BYTES}",
            "5m",
            "the disk of {{ $labels.directory }} is almost full, so nothing is published and no job starts",
            "free some space, or extend the disk",
        ),
    ]
    if settings.health.verify_days:
        max_age_seconds = round(2 * settings.health.verify_days * DAY_SECONDS)
        rules.append(
            AlertRule(
                "HvenFilesNotVerified",
                "warning",
                f"time() - hven_collection_verified_timestamp_seconds{{{selector}}} > {max_age_seconds}",
                "1h",
                "the files of {{ $labels.collection }} have not been verified for a long time",
                "run `hven verify {{ $labels.collection }}`",
            )
        )
    return rules


def format_alert_rules(rules: Sequence[AlertRule]) -> str:
    """Format rules as a file for Prometheus.

    Parameters
    ----------
    rules
        The rules.
    """
    lines = ["groups:", "- name: hven", "  rules:"]
    for rule in rules:
        lines += [
            f"  - alert: {rule.name}",
            f"    expr: {json.dumps(rule.expression)}",
            f"    for: {rule.duration}",
            f"    labels: {{severity: {rule.severity}}}",
            "    annotations:",
            f"      summary: {json.dumps(rule.summary)}",
            f"      description: {json.dumps(rule.action)}",
        ]
    return "\n".join(lines) + "\n"

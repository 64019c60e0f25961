"""The verb ``hven replay``: send the requests of a log to a new service, and compare the answers."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from hven.app.api import print_json, print_table
from hven.model.errors import UserError
from hven.plugins.log_replay.load_model import build_load_model
from hven.plugins.log_replay.replay import LogReplay, ReplayReport, repeat_log
from hven.plugins.log_replay.report_page import write_report_page
from hven.plugins.log_replay.request_logs import UNREADABLE

SHOWN_DIFFERENCES = 20
SHOWN_CHARACTERS = 100
MAX_REQUESTS_PER_SECOND = 50.0


def repeat_logged_requests(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="Log of requests: of Hven, DaCHS, vollt, Apache or nginx; or .gz.")
    ],
    *,
    against: Annotated[str, typer.Option(help="Address of the new service, which gets the requests.")] = "",
    old: Annotated[
        str, typer.Option(help="Address of the old service, for comparison. Default: compare statuses with the log.")
    ] = "",
    prefix: Annotated[str, typer.Option(help="Beginning of the log's paths, which Hven replaces.")] = "",
    limit: Annotated[int, typer.Option(help="Number of different requests to send.", min=1)] = 1000,
    rate: Annotated[
        float, typer.Option(help="Requests per second to each service.", min=0.01, max=MAX_REQUESTS_PER_SECOND)
    ] = 2.0,
    page: Annotated[Path | None, typer.Option(help="Also write the result to this HTML file.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Write when and how often requests came to this JSON file, for load tests.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Compare two services by the requests in a log.

    Requests go only to the addresses that you specify. Requests that need a body or a login, or change something, are
    counted, but not sent. The exit code is 1 if answers differ.
    """
    if not against and model is None:
        raise UserError(
            "the address of the new service is missing", remedy="write --against http://127.0.0.1:8080, for example"
        )
    for address in filter(None, (against, old)):
        _check_address(address)
    if model is not None:
        load_model = build_load_model(log, prefix=prefix)
        model.write_text(json.dumps(load_model.to_json(), indent=1) + "\n", encoding="utf-8")
        if load_model.requests_without_target:
            print(
                f"the model leaves out {load_model.requests_without_target:,} of {load_model.requests:,} requests, "
                "because the log has too many different ones",
                file=sys.stderr,
            )
    if not against:
        return
    log_replay = LogReplay(against, old, prefix=prefix, requests_per_second=rate)
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    report = repeat_log(log, log_replay, prefix=prefix, request_limit=limit, report_progress=_print_progress)
    if not report.requests and report.unrepeatable.keys() <= {UNREADABLE}:
        raise UserError(
            f"no line of {log} is a request in a format that Hven reads",
            remedy="use a log of Hven, DaCHS, vollt, Apache or nginx, in the common, combined or JSON format",
        )
    if page is not None:
        text = write_report_page(report, log_name=log.name, new_url=against, old_url=old, date=date)
        page.write_text(text, encoding="utf-8")
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.differences:
        raise typer.Exit(1)


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UserError(
            f"{address!r} is not the address of a service", remedy="write an address such as http://127.0.0.1:8080"
        )


def _print_progress(sent: int, total: int) -> None:
    if sent and sent % 100 == 0:
        print(f"{sent} of {total} requests sent", file=sys.stderr)


def _print_report(report: ReplayReport) -> None:
    differences = report.differences
    different_count = sum(request.count for request in differences)
    print(
        f"requests repeated: {report.repeated_count:,} ({len(report.requests):,} of them distinct); "
        f"different answers: {different_count:,}; requests not repeated: {report.unrepeatable.total():,}"
    )
    for reason, count in report.unrepeatable.most_common():
        print(f"  not repeated: {count:,} {reason}")
    if differences:
        rows = [
            [request.target[:SHOWN_CHARACTERS], str(request.count), request.difference]
            for request in differences[:SHOWN_DIFFERENCES]
        ]
        print_table(["request", "times", "new answer"], rows)
    if len(differences) > SHOWN_DIFFERENCES:
        print(f"{len(differences) - SHOWN_DIFFERENCES:,} more differences; use --json to list all of them")

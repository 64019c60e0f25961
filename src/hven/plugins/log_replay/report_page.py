"""Write a replay as a page that a person can read, print and sign."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.log_replay.replay import ReplayReport

MAX_SHOWN_DIFFERENCES = 500
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}th,td{border:1px solid #999;padding:.3em .5em;text-align:left;"
    "vertical-align:top}td{overflow-wrap:break-word}td:first-child{overflow-wrap:anywhere;min-width:8em}"
    ".sign{margin-top:4em}"
)


def write_report_page(report: ReplayReport, *, log_name: str, new_url: str, old_url: str, date: str) -> str:
    """Write the page of a replay.

    Parameters
    ----------
    report
        The replay.
    log_name
        Name of the log.
    new_url, old_url
        Addresses of the services; the old one is empty if only statuses in the log were compared.
    date
        When the requests were sent.
    """
    differences = report.differences
    compared_with = f"the answers of {old_url}" if old_url else "the statuses in the log"
    different_count = sum(request.count for request in differences)
    facts = [
        ("Log", log_name),
        ("New service", new_url),
        ("Compared with", compared_with),
        ("Date", date),
        ("Requests in the log that were repeated", f"{report.repeated_count:,} ({len(report.requests):,} different)"),
        ("Of these with the same answer", f"{report.repeated_count - different_count:,}"),
        ("Of these with a different answer", f"{different_count:,} ({len(differences):,} different requests)"),
        ("Not repeated", f"{report.unrepeatable.total():,}"),
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Replay of requests</title>',
        f"<style>{STYLE}</style></head><body><h1>Replay of requests</h1>",
        _write_html_table((), facts),
    ]
    if report.unrepeatable:
        rows = [(reason, f"{count:,}") for reason, count in report.unrepeatable.most_common()]
        parts.append("<h2>Not repeated</h2>" + _write_html_table(("Reason", "Requests"), rows))
    parts.append("<h2>Differences</h2>")
    if differences:
        shown = differences[:MAX_SHOWN_DIFFERENCES]
        cells = [(request.target, f"{request.count:,}", request.difference) for request in shown]
        parts.append(_write_html_table(("Request", "Times", "New answer"), cells))
        if len(differences) > len(shown):
            parts.append(f"<p>{len(differences) - len(shown):,} more differences are not shown.</p>")
    else:
        parts.append("<p>The answers are the same.</p>")
    parts.append('<p class="sign">Name, date, signature: ____________________________________</p></body></html>\n')
    return "".join(parts)


def _write_html_table(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    head = ""
    if headings:
        head = "<tr>" + "".join(f"<th>{escape(heading)}</th>" for heading in headings) + "</tr>"
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{head}{body}</table>"

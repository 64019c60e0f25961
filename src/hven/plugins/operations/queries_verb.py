"""The verb ``hven queries``: the queries that were slow, and those that run for long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_time, load_site_settings, print_json
from hven.plugins.operations.query_log import QueryGroup, SlowQueryLog, group_queries, read_running_slow_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DAYS = 7.0
SHOWN_TEXT_CHARACTERS = 300


def show_queries(
    context: typer.Context,
    *,
    days: Annotated[float, typer.Option(help="Days to look back.", min=0)] = DEFAULT_DAYS,
    limit: Annotated[int, typer.Option(help="Number of kinds of queries to show.", min=1)] = 10,
    has_plans: Annotated[bool, typer.Option("--plan", help="Also print the plan of the slowest query.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show slow queries, and the index that would help.

    Those that run now come first, then kinds of queries by their total time. Queries that differ only in values are of
    one kind. For each, the slowest is shown.
    """
    settings = load_site_settings(context)
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
    running = read_running_slow_queries(settings)
    groups = group_queries(SlowQueryLog(settings).read_entries(since))
    if as_json:
        print_json({"running": running, "slow": [group.to_json() for group in groups[:limit]]})
        return
    for entry in running:
        print(f"running for {entry['seconds']:g} s ({_describe_user(entry)}): {_shorten_query_text(entry['text'])}")
    for group in groups[:limit]:
        _print_query_group(group, has_plans=has_plans)
    if not groups and not running:
        print(f"no slow queries in the last {days:g} days")
    elif len(groups) > limit:
        print(f"{len(groups) - limit} more kinds of queries; use --limit {len(groups)}")


def _print_query_group(group: QueryGroup, *, has_plans: bool) -> None:
    worst = group.worst
    users = ", ".join(f"{count} by {user}" for user, count in sorted(group.users.items()))
    print(f"{group.count} x, {group.seconds:.1f} s in all ({users}): {_shorten_query_text(worst['text'])}")
    outcome = worst.get("error") or f"{worst.get('rows', 0):,} rows"
    waited = ""
    if worst.get("waited"):
        waited = f", of which {worst['waited']:.1f} s waiting"
    when = format_time(worst["time"])
    print(f"    slowest: {worst['seconds']:.1f} s{waited}, {outcome}, {when}, {_describe_user(worst)}")
    for line in (*worst.get("reads", ()), *worst.get("advice", ())):
        print(f"    {line}")
    if has_plans:
        for line in str(worst.get("plan", "")).splitlines():
            print(f"    plan: {line}")


def _describe_user(entry: Mapping[str, Any]) -> str:
    parts = (entry.get("name") or entry["user"], entry.get("service"))
    return ", ".join(part for part in parts if part)


def _shorten_query_text(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= SHOWN_TEXT_CHARACTERS:
        return text
    return f"{text[: SHOWN_TEXT_CHARACTERS - 2]} .."

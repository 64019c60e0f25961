"""``hven referee``: private addresses for referees. ``hven audit``: who changed rights or looked at locked files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from hven.app._cli.context import format_time, open_site, print_json, print_table
from hven.model.errors import NotFoundError, UsageError, suggest_spelling

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
GRANT_KIND = "referee"

referee = typer.Typer(no_args_is_help=True)


@referee.command("add")
def add_referee_address(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection that the referees see.")],
    end_text: Annotated[
        str,
        typer.Option("--until", metavar="DATE", help="The last day, or the time (UTC) at which the address expires."),
    ],
    is_anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous", help="Hide the collection's people, and do not log the network addresses of referees."
        ),
    ] = False,
) -> None:
    """Create a private address that shows a collection, and print it once.

    Everybody who has the address sees the collection.
    """
    end_time = _parse_future_end_time(end_text)
    with open_site(context) as site:
        names = site.get_published_state().resources
        if collection not in names:
            raise NotFoundError(
                f"there is no collection {collection!r:.80} here", remedy=suggest_spelling(collection, names)
            )
        facts = {}
        if is_anonymous:
            facts = {"anonymous": True}
        _, secret = site.store.grants.add_grant(
            GRANT_KIND, object=collection, expiry_time=end_time, actor="owner", facts=facts, with_secret=True
        )
        print(f"{site.settings.site_url}/referee/{secret}")


@referee.command("list")
def list_referee_addresses(context: typer.Context, as_json: Json = False) -> None:
    """Show the valid addresses, without their secrets."""
    with open_site(context) as site:
        grants = site.store.grants.list_grants(GRANT_KIND)
    names = ["id", "collection", "until", "anonymous", "created"]
    rows = []
    for grant in grants:
        anonymous_text = "no"
        if grant.facts.get("anonymous"):
            anonymous_text = "yes"
        rows.append((grant.id, grant.object, _format_end_time(grant.until), anonymous_text, grant.created))
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    print_table(names, [(*row[:-1], format_time(row[-1])) for row in rows], title="Referees")


@referee.command("end")
def end_referee_address(
    context: typer.Context,
    grant_id: Annotated[str, typer.Argument(metavar="ID", help="The number that `hven referee list` shows.")],
) -> None:
    """End an address immediately."""
    with open_site(context) as site:
        if all(grant.id != grant_id for grant in site.store.grants.list_grants(GRANT_KIND)):
            raise NotFoundError(
                f"there is no referee address {grant_id!r:.40}", remedy="run `hven referee list` to see all addresses"
            )
        ended_grant = site.store.grants.revoke_grant(grant_id, actor="owner")
    print(f"the address for {ended_grant.object} is no longer valid")


def audit(
    context: typer.Context,
    object_name: Annotated[
        str | None,
        typer.Option("--object", metavar="NAME", help=("Show only events about this collection, account or project.")),
    ] = None,
    account: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help=("Show only actions of this account."))
    ] = None,
    max_lines: Annotated[int, typer.Option("--most", min=1, max=1_000_000, help="Maximum number of lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who changed rights, and who opened locked files."""
    with open_site(context) as site:
        entries = site.store.grants.list_audit_entries(object=object_name, by=account, row_limit=max_lines)
    names = ["at", "by", "what", "object", "facts"]
    if as_json:
        print_json([{name: getattr(entry, name) for name in names} for entry in entries])
        return
    rows = []
    for entry in entries:
        facts_text = ", ".join(f"{name}={value}" for name, value in entry.facts.items())
        rows.append((format_time(entry.at), entry.by, entry.what, entry.object, facts_text))
    print_table(names, rows, title="Audit log")


def _parse_future_end_time(text: str) -> float:
    """Parse a moment, or a day, which stands for its end (UTC); return Unix time."""
    try:
        end_time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--until {text!r:.40} is not a date", remedy="write a date such as 2027-01-31 or 2027-01-31T12:00"
        ) from None
    if end_time.tzinfo is None:
        end_time = end_time.replace(tzinfo=UTC)
    is_day = len(text) <= len("2027-01-31")
    if is_day:
        end_time += timedelta(days=1)
    if end_time <= datetime.now(UTC):
        raise UsageError(f"--until {text} is in the past", remedy="give a later date")
    return end_time.timestamp()


def _format_end_time(end_time: float | None) -> str:
    if end_time is None:
        return ""
    return f"{datetime.fromtimestamp(end_time, UTC):%Y-%m-%d %H:%M}"

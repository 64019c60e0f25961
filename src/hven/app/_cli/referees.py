"""``hven referee add/list/end``: private addresses for referees; ``hven audit``: who changed rights, and who looked at what is locked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from hven.app._cli.context import moment, show_json, show_table
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, nearest

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
KIND = "referee"

referee = typer.Typer(no_args_is_help=True)


@referee.command("add")
def add(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="The one to be judged.")],
    until: Annotated[
        str,
        typer.Option("--until", metavar="DATE", help="The last day, or the moment (UTC) at which the address ends."),
    ],
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Show no people of the collection, and log no addresses of who comes.")
    ] = False,
) -> None:
    """Print a private address at which whoever has it sees a collection, this once."""
    end = _moment(until)
    with open_site(context) as site:
        names = site.current().resources
        if collection not in names:
            raise NotFound(f"there is no collection {collection!r:.80} here", remedy=nearest(collection, names))
        facts = {"anonymous": True} if anonymous else {}
        _, secret = site.store.grants.add(KIND, object=collection, until=end, by="owner", facts=facts, secret=True)
        print(f"{site.settings.url}/referee/{secret}")


@referee.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Show the addresses that are open, without their secrets."""
    with open_site(context) as site:
        rows = [
            [one.id, one.object, _said(one.until), "yes" if one.facts.get("anonymous") else "no", one.created]
            for one in site.store.grants.all(KIND)
        ]
    names = ["id", "collection", "until", "anonymous", "created"]
    if as_json:
        show_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    show_table(names, [[*row[:-1], moment(str(row[-1]))] for row in rows], title="Referees")


@referee.command("end")
def end(context: typer.Context, ident: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")]) -> None:
    """End an address, at once."""
    with open_site(context) as site:
        if all(one.id != ident for one in site.store.grants.all(KIND)):
            raise NotFound(f"there is no referee {ident!r:.40}", remedy="hven referee list shows them")
        gone = site.store.grants.end(ident, by="owner")
    print(f"the address for {gone.object} is none any more")


def audit(
    context: typer.Context,
    about: Annotated[
        str | None, typer.Option("--object", metavar="NAME", help="Of this collection, account ... alone.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="What this account did.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=1_000_000, help="Lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who changed rights, and who looked at locked files."""
    with open_site(context) as site:
        lines = site.store.grants.audit(object=about, by=by, most=most)
    names = ["at", "by", "what", "object", "facts"]
    if as_json:
        show_json([{name: getattr(one, name) for name in names} for one in lines])
        return
    rows = [
        [
            moment(one.at),
            one.by,
            one.what,
            one.object,
            ", ".join(f"{name}={value}" for name, value in one.facts.items()),
        ]
        for one in lines
    ]
    show_table(names, rows, title="Audit log")


def _moment(text: str) -> float:
    """Return when a date is over, or the moment that a text names."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until {text!r:.40} is no date", remedy="2027-01-31, or 2027-01-31T12:00") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    found += timedelta(days=len(text) <= len("2027-01-31"))
    if found <= datetime.now(UTC):
        raise UsageError(f"--until {text} is over", remedy="a day to come")
    return found.timestamp()


def _said(until: float | None) -> str:
    return "" if until is None else f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}"

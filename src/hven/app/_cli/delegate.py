"""``hven delegate``: who sees the rows of somebody else, and until when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from hven.app._cli.context import moment, show_json, show_table
from hven.app._cli.context import site as open_site
from hven.site import delegate as give

delegate = typer.Typer()


@delegate.callback(invoke_without_command=True)
def every(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False
) -> None:
    """Show who sees the rows of somebody else, and until when."""
    if context.invoked_subcommand is not None:
        return
    with open_site(context) as site:
        found = site.store.grants.all("delegation")
    if as_json:
        show_json([asdict(one) for one in found])
        return
    rows = [
        [
            one.id,
            one.subject,
            one.object,
            "=".join(one.facts.values()),
            moment(datetime.fromtimestamp(one.until or 0, UTC).isoformat()),
            one.by,
        ]
        for one in found
    ]
    show_table(["id", "account", "sees rows of", "where", "until", "given by"], rows, title="Delegations")


@delegate.command("to")
def to(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who gets it.")],
    name: Annotated[str, typer.Option("--for", metavar="NAME", help="Whose rows: a name as it stands in them.")],
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="The last day, or a time (UTC).")],
    where: Annotated[
        str | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Of these rows alone: progid=60.A-9237.")
    ] = None,
) -> None:
    """Let an account see the rows of somebody else, until a day."""
    with open_site(context) as site:
        made, doubts = give(site, account, name, where=where, until=until, by="owner")
    for one in doubts:
        print(f"warning: {one}")
    print(f"{made.id}: {account} sees the rows of {name}{f' where {where}' if where else ''} until {until}")


@delegate.command("end")
def end(
    context: typer.Context, ident: Annotated[str, typer.Argument(metavar="ID", help="As `hven delegate` lists it.")]
) -> None:
    """End a delegation now."""
    with open_site(context) as site:
        gone = site.store.grants.end(ident, by="owner")
    print(f"{gone.subject} sees the rows of {gone.object} by it no more")

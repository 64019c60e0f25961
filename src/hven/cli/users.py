"""``hven user add/list/remove`` and ``hven tables``: accounts, and the tables that they keep here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hven.cli.context import moment, show_json, show_table, size
from hven.cli.context import site as open_site

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Account = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]

user = typer.Typer(no_args_is_help=True, help="Accounts of readers who keep tables here.")


@user.command("add")
def add(context: typer.Context, name: Account) -> None:
    """Make an account and print its token, this once."""
    with open_site(context) as site:
        print(site.store.users.add(name))


@user.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Show the accounts."""
    with open_site(context) as site:
        found = site.store.users.all()
    if as_json:
        show_json([{"name": name, "created": created} for name, created in found])
        return
    show_table(["name", "created"], [[name, moment(created)] for name, created in found], title="Accounts")


@user.command("remove")
def remove(context: typer.Context, name: Account) -> None:
    """Take an account away, with its tables."""
    with open_site(context) as site:
        for record, _ in site.store.user_tables.all():
            if record.table.owner == name:
                site.engine.drop(site.store.user_tables.drop(name, record.table.name))
        site.store.users.remove(name)
    print(f"{name} has no account any more")


def tables(context: typer.Context, as_json: Json = False) -> None:
    """Show the tables that readers keep here.

    Those whose time is over go.
    """
    from hven.query import own

    with open_site(context) as site:
        own.sweep(site)
        rows: list[dict[str, Any]] = [
            {
                "owner": record.table.owner,
                "table": record.table.qualified,
                "rows": record.snapshot.rows,
                "bytes": record.snapshot.bytes,
                "written": record.created,
                "expires": expires,
            }
            for record, expires in site.store.user_tables.all()
        ]
    if as_json:
        show_json(rows)
        return
    show_table(
        ["owner", "table", "rows", "size", "written", "expires"],
        [[row["owner"], row["table"], row["rows"], size(row["bytes"]), moment(row["written"]), moment(row["expires"])] for row in rows],
        title="Tables of readers",
    )

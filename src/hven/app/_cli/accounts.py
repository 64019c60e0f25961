"""``hven user add/list/token/password/remove``, ``hven token`` and ``hven tables show/drop/expire``: accounts, their tokens, the tables that they keep here."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import moment, show_json, show_table, size
from hven.app._cli.context import site as open_site
from hven.jobs.desk import directory
from hven.model.errors import NotFound
from hven.portal.faces.portal import forget
from hven.query import user_tables as own
from hven.site.auth import change_password
from hven.site.auth.local import end_token, give_token

if TYPE_CHECKING:
    from hven.site import Site
    from hven.site.store import Record

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Account = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]
Owner = Annotated[str, typer.Argument(metavar="OWNER", help="The account that keeps it.")]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Its name, with tap_user or without.")]

user = typer.Typer(no_args_is_help=True)


@user.command("add")
def add(context: typer.Context, name: Account) -> None:
    """Create an account and print its token, this once."""
    with open_site(context) as site:
        print_token(name, site.store.users.add(name))


def print_token(name: str, token: str) -> None:
    """Print a token to standard output, alone so that a script can keep it, and what it is for to standard error."""
    print(token)
    print(f"hven: this is the token of {name}, shown only now: it logs in at /login, and programs send it as `Authorization: Bearer TOKEN`", file=sys.stderr)  # fmt: skip


@user.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Show the accounts."""
    with open_site(context) as site:
        found = site.store.users.all()
    if as_json:
        show_json([{"name": name, "created": created} for name, created in found])
        return
    show_table(["name", "created"], [[name, moment(created)] for name, created in found], title="Accounts")


@user.command("token")
def renew(
    context: typer.Context,
    name: Account,
    every: Annotated[bool, typer.Option("--all", help="Personal tokens and the password end, too.")] = False,
) -> None:
    """Renew an account's token and print it, this once.

    The old token and all sessions end; tables and jobs stay, and so do personal tokens and a password without --all.
    """
    with open_site(context) as site:
        print_token(name, site.store.users.renew(name))
        others = [one for one in site.store.grants.all(subject=name) if one.kind in {"token", "password"}]
        for one in others if every else ():
            site.store.grants.end(one.id, by="owner")
    if others:
        words = "ended, too" if every else f"still open it: hven user token {name} --all ends them, too"
        told = ", ".join(f"{one.kind} {one.id}" for one in others)
        print(f"hven: what {name} has besides ({told}) {words}", file=sys.stderr)


@user.command("password")
def password(
    context: typer.Context,
    name: Account,
    gone: Annotated[bool, typer.Option("--remove", help="It has none any more.")] = False,
) -> None:
    """Set an account's password, from standard input or by asking; its sessions end."""
    asked = sys.stdin.isatty() and not gone
    word = typer.prompt("Password", hide_input=True, confirmation_prompt=True) if asked else ""
    with open_site(context) as site:
        change_password(site.store, name, word if asked or gone else sys.stdin.readline(), by="owner")
    print(f"{name} has {'no password any more' if gone else 'a new password'}")


@user.command("remove")
def remove(context: typer.Context, name: Account) -> None:
    """Remove an account, with its token, sessions, tables, jobs and basket."""
    with open_site(context) as site:
        for job in site.store.users.remove(name):
            shutil.rmtree(directory(site.settings, job), ignore_errors=True)
        own.sweep(site)
        forget(site.settings, name)
    print(f"{name} has no account any more")


token = typer.Typer(no_args_is_help=True)


@token.command("add")
def give(
    context: typer.Context,
    name: Account,
    scope: Annotated[
        str, typer.Option("--scope", help="read: look and query; all: everything that the account may.")
    ] = "read",
    days: Annotated[float, typer.Option("--days", help="Days that it holds.")] = 90.0,
    purpose: Annotated[str, typer.Option("--for", metavar="TEXT", help="What it is for.")] = "",
) -> None:
    """Create a personal token of an account and print it, this once."""
    with open_site(context) as site:
        print(give_token(site.store, name, scope, days, by="owner", purpose=purpose)[1])


@token.command("list")
def given(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of this account alone.")] = None,
    as_json: Json = False,
) -> None:
    """Show the personal tokens that hold."""
    with open_site(context) as site:
        rows = [
            {
                "id": one.id,
                "account": one.subject,
                "scope": one.role,
                "until": datetime.fromtimestamp(one.until or 0, UTC).isoformat(timespec="seconds"),
                "purpose": one.facts.get("purpose", ""),
                "by": one.by,
            }
            for one in site.store.grants.all("token", subject=name)
        ]
    if as_json:
        show_json(rows)
        return
    show_table(
        ["id", "account", "scope", "until", "purpose", "by"], [list(row.values()) for row in rows], title="Tokens"
    )


@token.command("end")
def end(
    context: typer.Context, ident: Annotated[str, typer.Argument(metavar="ID", help="As the list has it.")]
) -> None:
    """End a personal token, within a second everywhere."""
    with open_site(context) as site:
        end_token(site.store, ident, by="owner")
    print(f"the token {ident} is none any more")


tables = typer.Typer()


@tables.callback(invoke_without_command=True)
def every(context: typer.Context, as_json: Json = False) -> None:
    """Show the tables that readers keep here.

    Those whose time is over go.
    """
    if context.invoked_subcommand is not None:
        return
    with open_site(context) as site:
        own.sweep(site)
        rows = [_facts(record, expires) for record, expires in site.store.user_tables.all()]
    if as_json:
        show_json(rows)
        return
    show_table(
        ["owner", "table", "rows", "size", "written", "expires"],
        [
            [
                row["owner"],
                row["table"],
                row["rows"],
                size(row["bytes"]),
                moment(row["written"]),
                moment(row["expires"]),
            ]
            for row in rows
        ],
        title="Tables of readers",
    )


@tables.command("show")
def show(context: typer.Context, owner: Owner, name: TableName, as_json: Json = False) -> None:
    """Show one table: its facts and its columns, not its rows."""
    with open_site(context) as site:
        record, expires = _found(site, owner, name)
    facts = _facts(record, expires)
    table = record.table
    columns = [
        {
            "name": column.name,
            "type": str(column.type),
            "unit": column.unit,
            "ucd": column.ucd,
            "index": "position"
            if column.name in (table.position or ())
            else "unique"
            if column.unique
            else "yes"
            if column.indexed
            else None,
            "description": column.description,
        }
        for column in table.columns
    ]
    if as_json:
        show_json({**facts, "columns": columns})
        return
    print(f"{facts['table']} of {owner}: {facts['rows']:,} rows, {size(facts['bytes'])}")
    print(f"written {moment(facts['written'])}, goes {moment(facts['expires'])}")
    show_table(list(columns[0]), [list(column.values()) for column in columns])


@tables.command("drop")
def drop(context: typer.Context, owner: Owner, name: TableName) -> None:
    """Delete a table of a reader."""
    with open_site(context) as site:
        record, _ = _found(site, owner, name)
        site.store.user_tables.drop(owner, record.table.name)
        own.sweep(site)
    print(f"{record.table.qualified} of {owner} is deleted")


@tables.command("expire")
def expire(
    context: typer.Context,
    owner: Owner,
    name: TableName,
    days: Annotated[float, typer.Option("--days", min=0.0, max=36500.0, help="Days from now until it goes.")],
) -> None:
    """Set the time when a table of a reader goes."""
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    with open_site(context) as site:
        record, _ = _found(site, owner, name)
        site.store.user_tables.keep_until(owner, record.table.name, until)
    print(f"{record.table.qualified} of {owner} goes {moment(until)}")


def _facts(record: Record, expires: str) -> dict[str, Any]:
    return {
        "owner": record.table.owner,
        "table": record.table.qualified,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "written": record.created,
        "expires": expires,
    }


def _found(site: Site, owner: str, name: str) -> tuple[Record, str]:
    wanted = own.name_of(name).lower()
    for record, expires in site.store.user_tables.of(owner):
        if record.table.name.lower() == wanted:
            return record, expires
    raise NotFound(f"{owner} keeps no table {name!r:.80}", remedy="hven tables lists them")

"""``hven user``, ``token`` and ``tables``: manage accounts, their tokens, and the tables that users keep here."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import format_size, format_time, open_site, print_json, print_table
from hven.jobs.job_service import get_job_directory
from hven.model import plugins
from hven.model.errors import NotFoundError
from hven.query import user_tables
from hven.site.auth import change_password
from hven.site.auth.local import create_personal_token, revoke_personal_token

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.site import Site
    from hven.site.store import AccessGrant, SnapshotRecord

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Account = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]
Owner = Annotated[str, typer.Argument(metavar="OWNER", help="The account that the table belongs to.")]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the table, with or without tap_user.")]

user = typer.Typer(no_args_is_help=True)


@user.command("add")
def add_account(context: typer.Context, account: Account) -> None:
    """Create an account, and print its token once."""
    with open_site(context) as site:
        print_token(account, site.store.users.add_account(account))


def print_token(account_name: str, token: str) -> None:
    """Print a token to standard output, where a script can read it, and explain it on standard error."""
    print(token)
    print(
        f"hven: this is the token of {account_name}. Hven does not show it again. Use it to log in at /login; "
        "programs send it as `Authorization: Bearer TOKEN`",
        file=sys.stderr,
    )


@user.command("list")
def list_accounts(context: typer.Context, as_json: Json = False) -> None:
    """Show the accounts."""
    with open_site(context) as site:
        accounts = site.store.users.list_accounts()
    if as_json:
        print_json([{"name": name, "created": created} for name, created in accounts])
        return
    rows = [(name, format_time(created)) for name, created in accounts]
    print_table(["name", "created"], rows, title="Accounts")


@user.command("token")
def renew_token(
    context: typer.Context,
    account: Account,
    end_all: Annotated[bool, typer.Option("--all", help="Also revoke the personal tokens and the password.")] = False,
) -> None:
    """Renew an account's token, and print the new token once.

    This ends the old token and all sessions. Tables and jobs remain. Personal tokens and the password also remain
    valid, unless you use --all.
    """
    with open_site(context) as site:
        print_token(account, site.store.users.renew_token(account))
        grants = site.store.grants.list_grants(subject=account)
        other_credentials = [grant for grant in grants if grant.kind in {"token", "password"}]
        if end_all:
            for grant in other_credentials:
                site.store.grants.revoke_grant(grant.id, actor="owner")
    if other_credentials:
        if end_all:
            outcome = "no longer valid"
        else:
            outcome = f"still valid; to end them as well, run: hven user token {account} --all"
        credential_list = ", ".join(f"{grant.kind} {grant.id}" for grant in other_credentials)
        print(f"hven: other credentials of {account} ({credential_list}) are {outcome}", file=sys.stderr)


@user.command("password")
def set_password(
    context: typer.Context,
    account: Account,
    is_removed: Annotated[bool, typer.Option("--remove", help="Remove the password.")] = False,
) -> None:
    """Set an account's password, and end its sessions.

    The password is read from standard input, or from a prompt at a terminal.
    """
    if is_removed:
        new_password = ""
    elif sys.stdin.isatty():
        new_password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        new_password = sys.stdin.readline()
    with open_site(context) as site:
        change_password(site.store, account, new_password, changed_by="owner")
    print(f"{account} {'no longer has a password' if is_removed else 'has a new password'}")


@user.command("remove")
def remove_account(context: typer.Context, account: Account) -> None:
    """Remove an account, its token, sessions, tables, jobs and basket."""
    with open_site(context) as site:
        for job in site.store.users.remove_account(account):
            job_directory = get_job_directory(site.settings, job)
            shutil.rmtree(job_directory, ignore_errors=True)
        user_tables.delete_expired_user_tables(site)
        # packages that the site leaves out, too: whoever has the name next gets nothing of this account
        for _, remove_account_data in plugins.iterate_package_objects(
            "account_removers", plugins.list_installed_packages()
        ):
            remove_account_data(site, account)
    print(f"the account {account} is removed")


token = typer.Typer(no_args_is_help=True)


@token.command("add")
def add_token(
    context: typer.Context,
    account: Account,
    scope: Annotated[
        str,
        typer.Option(
            "--scope", help=("What the token may do. read: view and query. all: everything that the account may do.")
        ),
    ] = "read",
    days: Annotated[float, typer.Option("--days", help="Number of days for which the token is valid.")] = 90.0,
    purpose: Annotated[str, typer.Option("--for", metavar="TEXT", help="What the token is for.")] = "",
) -> None:
    """Create a personal token for an account, and print it once."""
    with open_site(context) as site:
        _, token_text = create_personal_token(site.store, account, scope, days, created_by="owner", purpose=purpose)
        print(token_text)


@token.command("list")
def list_tokens(
    context: typer.Context,
    account: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help=("Show only the tokens of this account."))
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the personal tokens that are valid."""
    with open_site(context) as site:
        grants = site.store.grants.list_grants("token", subject=account)
    rows = [_token_to_json(grant) for grant in grants]
    if as_json:
        print_json(rows)
        return
    headings = ["id", "account", "scope", "until", "purpose", "by"]
    print_table(headings, [list(row.values()) for row in rows], title="Tokens")


def _token_to_json(grant: AccessGrant) -> dict[str, Any]:
    end_time = datetime.fromtimestamp(grant.until or 0, UTC)
    return {
        "id": grant.id,
        "account": grant.subject,
        "scope": grant.role,
        "until": end_time.isoformat(timespec="seconds"),
        "purpose": grant.facts.get("purpose", ""),
        "by": grant.by,
    }


@token.command("end")
def end_personal_token(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The number that `hven token list` shows.")],
) -> None:
    """End a personal token everywhere, within a second."""
    with open_site(context) as site:
        revoke_personal_token(site.store, token_id, revoked_by="owner")
    print(f"the token {token_id} is no longer valid")


tables = typer.Typer()


@tables.callback(invoke_without_command=True)
def list_user_tables(context: typer.Context, as_json: Json = False) -> None:
    """Show the tables that users keep here, and delete expired tables."""
    if context.invoked_subcommand is not None:
        return
    with open_site(context) as site:
        user_tables.delete_expired_user_tables(site)
        rows = [_user_table_to_json(record, expires) for record, expires in site.store.user_tables.list_user_tables()]
    if as_json:
        print_json(rows)
        return
    cells_by_row = [
        (
            row["owner"],
            row["table"],
            row["rows"],
            format_size(row["bytes"]),
            format_time(row["written"]),
            format_time(row["expires"]),
        )
        for row in rows
    ]
    print_table(["owner", "table", "rows", "size", "written", "expires"], cells_by_row, title="Tables of readers")


def _get_column_index_kind(table: Table, column: Column) -> str | None:
    if column.name in (table.position or ()):
        return "position"
    if column.unique:
        return "unique"
    if column.indexed:
        return "yes"
    return None


def _column_to_json(table: Table, column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": str(column.type),
        "unit": column.unit,
        "ucd": column.ucd,
        "index": _get_column_index_kind(table, column),
        "description": column.description,
    }


@tables.command("show")
def show_user_table(context: typer.Context, owner: Owner, table_name: TableName, as_json: Json = False) -> None:
    """Show facts about a table and its columns, but not its rows."""
    with open_site(context) as site:
        record, expires = _find_user_table(site, owner, table_name)
    facts = _user_table_to_json(record, expires)
    columns = [_column_to_json(record.table, column) for column in record.table.columns]
    if as_json:
        print_json({**facts, "columns": columns})
        return
    print(f"{facts['table']} of {owner}: {facts['rows']:,} rows, {format_size(facts['bytes'])}")
    print(f"written {format_time(facts['written'])}, expires {format_time(facts['expires'])}")
    print_table(list(columns[0]), [list(column.values()) for column in columns])


@tables.command("drop")
def drop_user_table(context: typer.Context, owner: Owner, table_name: TableName) -> None:
    """Delete a table of a user."""
    with open_site(context) as site:
        record, _ = _find_user_table(site, owner, table_name)
        site.store.user_tables.delete_table(owner, record.table.name)
        user_tables.delete_expired_user_tables(site)
    print(f"{record.table.qualified_name} of {owner} is deleted")


@tables.command("expire")
def set_user_table_expiry(
    context: typer.Context,
    owner: Owner,
    table_name: TableName,
    days: Annotated[
        float,
        typer.Option("--days", min=0.0, max=36500.0, help=("Number of days from now until Hven deletes the table.")),
    ],
) -> None:
    """Set the time at which a table of a user is deleted."""
    expiry_time = datetime.now(UTC) + timedelta(days=days)
    expiry_text = expiry_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    with open_site(context) as site:
        record, _ = _find_user_table(site, owner, table_name)
        site.store.user_tables.set_expiry(owner, record.table.name, expiry_text)
    print(f"{record.table.qualified_name} of {owner} expires {format_time(expiry_text)}")


def _user_table_to_json(record: SnapshotRecord, expiry_time: str) -> dict[str, Any]:
    return {
        "owner": record.table.owner,
        "table": record.table.qualified_name,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "written": record.created,
        "expires": expiry_time,
    }


def _find_user_table(site: Site, owner: str, table_name: str) -> tuple[SnapshotRecord, str]:
    wanted_name = user_tables.parse_user_table_name(table_name).lower()
    for record, expires in site.store.user_tables.list_owner_tables(owner):
        if record.table.name.lower() == wanted_name:
            return record, expires
    raise NotFoundError(f"{owner} has no table {table_name!r:.80}", remedy="run hven tables to see all tables")

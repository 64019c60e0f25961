"""``hven user`` and ``hven token``: manage accounts and their tokens."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import format_time, open_site, print_json, print_table
from hven.jobs.job_service import get_job_directory
from hven.model import plugins
from hven.model.errors import UserError
from hven.site.auth import change_password_and_end_sessions
from hven.site.auth.local import create_personal_token, revoke_personal_token
from hven.site.user_tables import delete_expired_user_tables

if TYPE_CHECKING:
    from hven.site.store import AccessGrant

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Account = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]

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
        f"hven: this is the token of {account_name}. Hven will not show it again. Use it to log in at /login; "
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
        print_token(account, site.store.users.renew_token_and_end_sessions(account))
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
        print(f"hven: the other credentials of {account} ({credential_list}) are {outcome}", file=sys.stderr)


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
    if not is_removed and not new_password.strip():  # for instance because the program before the pipe failed
        raise UserError("the password is empty", remedy="give a password, or remove the old one with --remove")
    with open_site(context) as site:
        change_password_and_end_sessions(site.store, account, new_password, changed_by="owner")
    print(f"{account} {'no longer has a password' if is_removed else 'has a new password'}")


@user.command("remove")
def remove_account(context: typer.Context, account: Account) -> None:
    """Remove an account, its token, sessions, tables, jobs and basket."""
    with open_site(context) as site:
        for job in site.store.users.remove_account(account):
            job_directory = get_job_directory(site.settings, job)
            shutil.rmtree(job_directory, ignore_errors=True)
        delete_expired_user_tables(site)
        # packages that the site leaves out, too: whoever has the name next gets nothing of this account
        for _, remove_account_data in plugins.iterate_package_objects(
            "account_removers", plugins.list_installed_packages()
        ):
            remove_account_data(site, account)
    print(f"the account {account} has been removed")


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

"""``hven delegate``: let accounts see the rows of somebody else, until a day."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from hven.app._cli.context import format_time, open_site, print_json, print_table
from hven.site import grant_delegation_and_list_doubts

delegate = typer.Typer()


@delegate.callback(invoke_without_command=True)
def show_delegations(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False
) -> None:
    """Show who may see somebody else's rows, and until when."""
    if context.invoked_subcommand is not None:
        return
    with open_site(context) as site:
        delegations = site.store.grants.list_grants("delegation")
    if as_json:
        print_json([asdict(grant) for grant in delegations])
        return
    rows = []
    for grant in delegations:
        condition = "=".join(grant.facts.values())
        end_time = datetime.fromtimestamp(grant.until or 0, UTC)
        rows.append((grant.id, grant.subject, grant.object, condition, format_time(end_time.isoformat()), grant.by))
    print_table(["id", "account", "sees rows of", "where", "until", "given by"], rows, title="Delegations")


@delegate.command("to")
def add_delegation(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account that may see the rows.")],
    row_owner: Annotated[
        str, typer.Option("--for", metavar="NAME", help=("The person whose rows these are, by the name in the rows."))
    ],
    end_text: Annotated[str, typer.Option("--until", metavar="DATE", help="The last day, or the end time (UTC).")],
    row_condition: Annotated[
        str | None,
        typer.Option(
            "--where", metavar="COLUMN=VALUE", help=("Show only rows with this value, such as progid=60.A-9237.")
        ),
    ] = None,
) -> None:
    """Let an account see somebody else's rows until a given day."""
    with open_site(context) as site:
        grant, warnings = grant_delegation_and_list_doubts(
            site, account, row_owner, row_condition=row_condition, expiry_text=end_text, granted_by="owner"
        )
    for warning in warnings:
        print(f"warning: {warning}")
    condition_text = f" where `{row_condition}`" if row_condition else ""
    print(f"{grant.id}: {account} sees the rows of {row_owner}{condition_text} until {end_text}")


@delegate.command("end")
def end_delegation(
    context: typer.Context,
    grant_id: Annotated[str, typer.Argument(metavar="ID", help="The number that `hven delegate` shows.")],
) -> None:
    """End a delegation now."""
    with open_site(context) as site:
        ended_grant = site.store.grants.revoke_grant(grant_id, actor="owner")
    print(f"{ended_grant.subject} no longer sees the rows of {ended_grant.object} through this delegation")

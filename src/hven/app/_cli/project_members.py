"""``hven project``: manage the members of projects, and their roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import format_time, open_site, print_json, print_table
from hven.model.errors import NotFoundError, UsageError, suggest_spelling
from hven.site.auth import PROJECT_ROLES

if TYPE_CHECKING:
    from hven.model.settings import ProjectSettings
    from hven.site import Site
    from hven.site.store import AccessGrant

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the project in hven.toml.")]
Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account of the member.")]

project = typer.Typer(no_args_is_help=True)


@project.command("list")
def list_projects(context: typer.Context, as_json: Json = False) -> None:
    """Show the projects, and count their members and requests."""
    with open_site(context) as site:
        rows = [_project_to_json(site, project_settings) for project_settings in site.settings.projects]
    _print_project_rows(rows, "Projects", as_json=as_json)


def _project_to_json(site: Site, project_settings: ProjectSettings) -> dict[str, Any]:
    name = project_settings.name
    return {
        "project": name,
        "title": project_settings.title,
        "listed": project_settings.listed,
        "open": project_settings.open,
        "members": len(_list_member_grants(site, name)),
        "asked": len(site.store.grants.list_grants("asked", object=name)),
    }


@project.command("show")
def show_project(context: typer.Context, project_name: Name, as_json: Json = False) -> None:
    """Show a project's members, roles, and requests to join."""
    with open_site(context) as site:
        _find_project(site, project_name)
        grants_by_account = _list_member_grants(site, project_name)
        requests = site.store.grants.list_grants("asked", object=project_name)
    rows = [_member_to_json(account, member_grants) for account, member_grants in grants_by_account.items()]
    rows += [_join_request_to_json(request) for request in requests]
    _print_project_rows(rows, project_name, as_json=as_json)


def _join_request_to_json(request: AccessGrant) -> dict[str, Any]:
    return {
        "account": request.subject,
        "role": "asks",
        "since": request.created,
        "by": request.by,
        "told": request.facts.get("words", ""),
    }


@project.command("add-member")
def add_member(
    context: typer.Context,
    project_name: Name,
    account: Account,
    role: Annotated[
        str,
        typer.Option(
            "--role", help=f"{', '.join(PROJECT_ROLES)}. Each role includes the rights of the roles before it."
        ),
    ] = PROJECT_ROLES[0],
) -> None:
    """Make an account a member of a project, with a role."""
    with open_site(context) as site:
        _find_project(site, project_name)
        if role not in PROJECT_ROLES:
            raise UsageError(
                f"there is no role {role!r:.40}",
                remedy=suggest_spelling(role, PROJECT_ROLES) or f"give one of {', '.join(PROJECT_ROLES)}",
            )
        for request in site.store.grants.list_grants("asked", subject=account, object=project_name):
            site.store.grants.revoke_grant(request.id, actor="owner")
        site.store.grants.add_grant("member", subject=account, object=project_name, role=role, actor="owner")
        row = _member_to_json(account, _list_member_grants(site, project_name)[account])
        known_accounts = [name for name, _ in site.store.users.list_accounts()]
    if account not in known_accounts:
        remedy = suggest_spelling(account, known_accounts)
        if not remedy:
            remedy = "check the name, or create it; a log-in at an institute creates it as well"
        print(f"warning: there is no account {account}: {remedy}")
    remark = f"; {row['told']}" if row["told"] else ""
    print(f"{account} has the role {row['role']} in {project_name}{remark}")


@project.command("remove-member")
def remove_member(context: typer.Context, project_name: Name, account: Account) -> None:
    """Remove an account from a project, whatever its roles are."""
    with open_site(context) as site:
        _find_project(site, project_name)
        member_grants = _list_member_grants(site, project_name).get(account)
        if member_grants is None:
            raise NotFoundError(
                f"{account} is not a member of {project_name}",
                remedy=f"run `hven project show {project_name}` to see its members",
            )
        for grant in member_grants:
            site.store.grants.revoke_grant(grant.id, actor="owner")
    print(f"{account} is no longer a member of {project_name}")


def _find_project(site: Site, project_name: str) -> ProjectSettings:
    names = [project_settings.name for project_settings in site.settings.projects]
    if project_name not in names:
        raise NotFoundError(
            f"there is no project {project_name!r:.60}",
            remedy=suggest_spelling(project_name, names) or f"add [projects.{project_name}] to hven.toml",
        )
    return site.settings.projects[names.index(project_name)]


def _list_member_grants(site: Site, project_name: str) -> dict[str, list[AccessGrant]]:
    grants_by_account: dict[str, list[AccessGrant]] = {}
    for grant in site.store.grants.list_grants("member", object=project_name):
        if grant.role in PROJECT_ROLES:
            grants_by_account.setdefault(grant.subject, []).append(grant)
    return grants_by_account


def _member_to_json(account: str, member_grants: list[AccessGrant]) -> dict[str, Any]:
    """Describe a member.

    Of several roles, the lowest is in force, as in `hven.site.auth.with_known_groups_and_names`.
    """
    roles = sorted((grant.role for grant in member_grants), key=PROJECT_ROLES.index)
    distinct_roles = dict.fromkeys(roles)
    if len(distinct_roles) > 1:
        warning = f"several roles ({' and '.join(distinct_roles)}); the role with the fewest rights applies"
    else:
        warning = ""
    return {
        "account": account,
        "role": roles[0],
        "since": member_grants[0].created,
        "by": member_grants[0].by,
        "told": warning,
    }


def _print_project_rows(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if "since" in row:
            row["since"] = format_time(row["since"])
    headings = []
    if rows:
        headings = list(rows[0])
    print_table(headings, [list(row.values()) for row in rows], title=title)

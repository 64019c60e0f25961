"""``hven project list/show/add-member/remove-member``: who shares the collections of a project, and in which role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import moment, show_json, show_table
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, nearest
from hven.site.auth import ROLES

if TYPE_CHECKING:
    from hven.model.settings import Project
    from hven.site import Site
    from hven.site.store import Grant

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The project, as hven.toml calls it.")]
Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Of the member.")]

project = typer.Typer(no_args_is_help=True)


@project.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Show the projects, with the numbers of their members, and of those who ask to be one."""
    with open_site(context) as site:
        rows: list[dict[str, Any]] = [
            {
                "project": one.name, "title": one.title, "listed": one.listed, "open": one.open,
                "members": len(_given(site, one.name)), "asked": len(site.store.grants.all("asked", object=one.name)),
            }
            for one in site.settings.projects
        ]  # fmt: skip
    _show(rows, "Projects", as_json=as_json)


@project.command("show")
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the members of a project, what each may, and who asks to be one."""
    with open_site(context) as site:
        _known(site, name)
        rows = [_told(account, given) for account, given in _given(site, name).items()]
        rows += [
            {"account": one.subject, "role": "asks", "since": one.created, "by": one.by, "told": one.facts.get("words", "")}
            for one in site.store.grants.all("asked", object=name)
        ]  # fmt: skip
    _show(rows, name, as_json=as_json)


@project.command("add-member")
def add_member(
    context: typer.Context,
    name: Name,
    account: Account,
    role: Annotated[
        str, typer.Option("--role", help=f"{', '.join(ROLES)}: each may what those before it may.")
    ] = ROLES[0],
) -> None:
    """Make somebody a member of a project, in a role."""
    with open_site(context) as site:
        _known(site, name)
        if role not in ROLES:
            raise UsageError(
                f"there is no role {role!r:.40}", remedy=nearest(role, ROLES) or f"one of {', '.join(ROLES)}"
            )
        for one in site.store.grants.all("asked", subject=account, object=name):
            site.store.grants.end(one.id, by="owner")
        site.store.grants.add("member", subject=account, object=name, role=role, by="owner")
        row = _told(account, _given(site, name)[account])
    print(f"{account} is {row['role']} of {name}{'; ' * bool(row['told'])}{row['told']}")


@project.command("remove-member")
def remove_member(context: typer.Context, name: Name, account: Account) -> None:
    """Take somebody out of a project, whatever their roles are."""
    with open_site(context) as site:
        _known(site, name)
        given = _given(site, name).get(account)
        if given is None:
            raise NotFound(f"{account} is no member of {name}", remedy=f"hven project show {name} lists them")
        for one in given:
            site.store.grants.end(one.id, by="owner")
    print(f"{account} is no member of {name} any more")


def _known(site: Site, name: str) -> Project:
    names = [one.name for one in site.settings.projects]
    if name not in names:
        raise NotFound(
            f"there is no project {name!r:.60}",
            remedy=nearest(name, names) or f"write [projects.{name}] into hven.toml",
        )
    return site.settings.projects[names.index(name)]


def _given(site: Site, name: str) -> dict[str, list[Grant]]:
    found: dict[str, list[Grant]] = {}
    for one in site.store.grants.all("member", object=name):
        if one.role in ROLES:
            found.setdefault(one.subject, []).append(one)
    return found


def _told(account: str, given: list[Grant]) -> dict[str, Any]:
    """Return which role of several holds, as `hven.site.auth.recognised` has it."""
    roles = sorted((one.role for one in given), key=ROLES.index)
    several = dict.fromkeys(roles)
    told = f"given as {' and '.join(several)}: the one that may less holds" if len(several) > 1 else ""
    return {"account": account, "role": roles[0], "since": given[0].created, "by": given[0].by, "told": told}


def _show(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    told = [row | ({"since": moment(row["since"])} if "since" in row else {}) for row in rows]
    show_table(list(rows[0]) if rows else [], [list(row.values()) for row in told], title=title)

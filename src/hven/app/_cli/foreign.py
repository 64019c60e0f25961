"""``hven fdw``: tables of other PostgreSQL databases, beside those of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import settings, show_json
from hven.model.errors import NotFound, UsageError

if TYPE_CHECKING:
    from hven.engines.postgres.fdw import Target
    from hven.model.settings import Foreign, Settings

MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def fdw(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of the [[foreign]] blocks of hven.toml (default: all).")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare both sides, measure, and say which conditions are sent there.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set it up, if the engine's role may; otherwise an administrator runs the text.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make tables of another PostgreSQL foreign tables of ours."""
    from hven.engines.postgres import fdw as room
    from hven.engines.postgres import fdw_checks

    if check and apply:
        raise UsageError("--check and --apply are two things", remedy="--apply first, then --check")
    found = settings(context)
    url, where = _home(found)
    chosen = [item for item in found.foreign if name in {None, item.name}]
    if not chosen:
        known = ", ".join(item.name for item in found.foreign)
        remedy = f"known: {known}" if known else "describe it in hven.toml: [[foreign]] with name, url, tables"
        raise NotFound(f"no foreign database is called {name}" if name else "hven.toml names no foreign database", remedy=remedy)
    told: list[dict[str, Any]] = []
    for item in chosen:
        target = _target(found, item)
        if apply:
            done = room.apply(target, url, where)
            told += [{"about": target.name, "done": text} for text in done]
            if not as_json:
                count = f"{len(target.tables)} table{'s' * (len(target.tables) != 1)}"
                print(
                    f"{target.name}: schema {target.into} has {count} of the other database, {target.where}; hven fdw {target.name} --check"
                )
        elif check:
            for one in fdw_checks.check(target, url, where, role=found.postgres.read_role):
                told.append({"about": one.about, "level": one.level, "message": one.message, "remedy": one.remedy})
                if not as_json:
                    print(f"{MARKS[one.level]} {one.about}: {one.message}" + (f"\n        {one.remedy}" if one.remedy else ""))
        else:
            text, problem = room.text_for(target, url, where)
            told.append({"about": target.name, "sql": text, "problem": problem})
            if not as_json:
                print(text, end="")
                if problem:
                    typer.echo(f"hven: extensions were not compared: {problem}", err=True)
    if as_json:
        show_json(told)
    if any(item.get("level") == "error" for item in told):
        raise typer.Exit(1)


def _home(found: Settings) -> tuple[str, str]:
    """Give the database that gets the foreign tables."""
    from hven.engines.postgres.sessions import Server

    if found.postgres.url is None:
        raise UsageError("hven.toml names no database of ours", remedy="say url under [postgres]: foreign tables are made there")
    url = found.resolved(found.postgres.url)
    return url, Server(url, schema="public", path="pg_catalog").where


def _target(found: Settings, item: Foreign) -> Target:
    from hven.engines.postgres.fdw import Target, user_of

    roles = list(item.roles)
    if not roles:
        named = (user_of(found.resolved(url)) for url in (found.postgres.url, found.postgres.read_url) if url)
        roles += [user for user in named if user]
        roles += [found.postgres.read_role] if found.postgres.read_role else []
    return Target(
        name=item.name,
        url=found.resolved(item.url),
        schema=item.namespace,
        tables=item.tables,
        into=item.into or item.name,
        roles=tuple(dict.fromkeys(roles)),
        fetch_size=item.fetch_size,
        extensions=item.extensions,
    )

"""``hven fdw`` and ``hven adopt``: tables of other databases beside those of ours, and the schema of a site that is gone for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from hven.engines import Caller, Word
from hven.engines.postgres import faults, fdw_checks, install
from hven.engines.postgres import fdw as tables
from hven.engines.postgres.sessions import Server
from hven.engines.postgres.settings import foreign, of
from hven.model.errors import NotFound, UsageError

if TYPE_CHECKING:
    from hven.engines.postgres.settings import Foreign
    from hven.model.settings import Settings

MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
NONE = "hven.toml names no database of ours"


def fdw(
    caller: Caller,
    name: Annotated[str | None, Word("NAME", "One of the [[foreign]] blocks of hven.toml (default: all).")] = None,
    check: Annotated[
        bool, Word("--check", "Compare both sides, measure, and say which conditions are sent there.")
    ] = False,
    apply: Annotated[
        bool, Word("--apply", "Set it up, if the engine's role may; otherwise an administrator runs the text.")
    ] = False,
) -> tuple[Any, bool]:
    """Make tables of another PostgreSQL foreign tables of ours."""
    if check and apply:
        raise UsageError("--check and --apply are two things", remedy="--apply first, then --check")
    found = caller.settings()
    said = of(found)
    if said.url is None:
        raise UsageError(NONE, remedy="say url under [postgres]: foreign tables are made there")
    url = found.resolved(said.url)
    where = Server(url, schema="public", path="pg_catalog").where
    chosen = [item for item in foreign(found) if name in {None, item.name}]
    if not chosen:
        known = ", ".join(item.name for item in foreign(found))
        remedy = f"known: {known}" if known else "describe it in hven.toml: [[foreign]] with name, url, tables"
        raise NotFound(
            f"no foreign database is called {name}" if name else "hven.toml names no foreign database", remedy=remedy
        )
    told: list[dict[str, Any]] = []
    for item in chosen:
        target = _target(found, item)
        if apply:
            told += [{"about": target.name, "done": text} for text in tables.apply(target, url, where)]
            count = f"{len(target.tables)} table{'s' * (len(target.tables) != 1)}"
            caller.say(
                f"{target.name}: schema {target.into} has {count} of the other database, {target.where}; hven fdw {target.name} --check"
            )
        elif check:
            for one in fdw_checks.check(target, url, where, role=said.read_role):
                told.append({"about": one.about, "level": one.level, "message": one.message, "remedy": one.remedy})
                caller.say(
                    f"{MARKS[one.level]} {one.about}: {one.message}" + (f"\n        {one.remedy}" if one.remedy else "")
                )
        else:
            text, problem = tables.text_for(target, url, where)
            told.append({"about": target.name, "sql": text, "problem": problem})
            caller.say(text, end="")
            if problem:
                caller.say(f"hven: extensions were not compared: {problem}", file=sys.stderr)
    return told, all(item.get("level") != "error" for item in told)


def _target(found: Settings, item: Foreign) -> tables.Target:
    roles = list(item.roles)
    if not roles:
        said = of(found)
        named = (tables.user_of(found.resolved(url)) for url in (said.url, said.read_url) if url)
        roles += [user for user in named if user]
        roles += [said.read_role] if said.read_role else []
    return tables.Target(
        name=item.name,
        url=found.resolved(item.url),
        schema=item.namespace,
        tables=item.tables,
        into=item.into or item.name,
        roles=tuple(dict.fromkeys(roles)),
        fetch_size=item.fetch_size,
        extensions=item.extensions,
    )


def adopt(
    caller: Caller,
    gone: Annotated[str, Word("ID", "Identity of the site that is gone, as the refusal of its schema says it.")],
) -> tuple[Any, bool]:
    """Take over the PostgreSQL schema of a site that is gone for good."""
    settings = caller.settings()
    said = of(settings)
    if said.url is None:
        raise UsageError(NONE, remedy="say url under [postgres]")
    # as no engine does: the sessions of those are what is looked for
    server = Server(settings.resolved(said.url), schema="", path="pg_catalog", writing=True)
    connection = server.psycopg()
    try:
        made = install.adopt(connection, said.namespace, caller.identity(), gone)
    except faults.kinds() as error:
        raise faults.translate(error, where=server.where) from error
    finally:
        connection.close()
    caller.say(f"the schema {said.namespace!r} {server.where} is this site's")
    if made:
        caller.say(f"{len(made)} tables of the other site are in it: a later ingest removes them")
    return {"schema": said.namespace, "adopted": gone, "tables": made}, True

"""``hven fdw`` and ``hven adopt``.

Tables of other databases beside those of ours, and the schema of a site that is gone for good.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from hven.engines import CommandArgument, CommandContext
from hven.engines.postgres import error_translation, foreign_table_checks, foreign_tables, schema_installation
from hven.engines.postgres.connection_pool import DatabaseServer
from hven.engines.postgres.settings import get_foreign_settings, get_postgres_settings
from hven.model.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from hven.engines.postgres.settings import ForeignDatabaseSettings
    from hven.model.settings import Settings

LEVEL_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
NO_DATABASE_MESSAGE = "hven.toml names no database of ours"


def fdw(
    caller: CommandContext,
    name: Annotated[
        str | None, CommandArgument("NAME", "One of the [[foreign]] blocks of hven.toml (default: all).")
    ] = None,
    check: Annotated[
        bool, CommandArgument("--check", "Compare both sides, measure, and say which conditions are sent there.")
    ] = False,
    apply: Annotated[
        bool,
        CommandArgument("--apply", "Set it up, if the engine's role may; otherwise an administrator runs the text."),
    ] = False,
) -> tuple[Any, bool]:
    """Make tables of another PostgreSQL foreign tables of ours."""
    if check and apply:
        raise UsageError("--check and --apply are two things", remedy="--apply first, then --check")
    settings = caller.settings()
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise UsageError(NO_DATABASE_MESSAGE, remedy="say url under [postgres]: foreign tables are made there")
    url = settings.resolve_address(postgres_settings.url)
    server_name = DatabaseServer(url, schema="public", path="pg_catalog").server_name
    chosen = [foreign for foreign in get_foreign_settings(settings) if name in {None, foreign.name}]
    if not chosen:
        known_names = ", ".join(foreign.name for foreign in get_foreign_settings(settings))
        if known_names:
            remedy = f"known: {known_names}"
        else:
            remedy = "describe it in hven.toml: [[foreign]] with name, url, tables"
        raise NotFoundError(
            f"no foreign database is called {name}" if name else "hven.toml names no foreign database", remedy=remedy
        )
    results: list[dict[str, Any]] = []
    for foreign in chosen:
        target = _build_target(settings, foreign)
        if apply:
            results += [
                {"about": target.name, "done": text} for text in foreign_tables.apply_setup(target, url, server_name)
            ]
            count = f"{len(target.tables)} table{'s' * (len(target.tables) != 1)}"
            caller.print_message(
                f"{target.name}: schema {target.local_schema} has {count} of the other database, "
                f"{target.database_name}; hven fdw {target.name} --check"
            )
        elif check:
            for finding in foreign_table_checks.check_setup(target, url, server_name, role=postgres_settings.read_role):
                results.append(
                    {
                        "about": finding.about,
                        "level": finding.level,
                        "message": finding.message,
                        "remedy": finding.remedy,
                    }
                )
                caller.print_message(
                    f"{LEVEL_MARKS[finding.level]} {finding.about}: {finding.message}"
                    + (f"\n        {finding.remedy}" if finding.remedy else "")
                )
        else:
            text, problem = foreign_tables.write_script_for(target, url, server_name)
            results.append({"about": target.name, "sql": text, "problem": problem})
            caller.print_message(text, end="")
            if problem:
                caller.print_message(f"hven: extensions were not compared: {problem}", file=sys.stderr)
    return results, all(foreign.get("level") != "error" for foreign in results)


def _build_target(settings: Settings, foreign: ForeignDatabaseSettings) -> foreign_tables.ForeignTarget:
    roles = list(foreign.roles)
    if not roles:
        postgres_settings = get_postgres_settings(settings)
        user_names = (
            foreign_tables.find_user(settings.resolve_address(url))
            for url in (postgres_settings.url, postgres_settings.read_url)
            if url
        )
        roles += [user for user in user_names if user]
        roles += [postgres_settings.read_role] if postgres_settings.read_role else []
    return foreign_tables.ForeignTarget(
        name=foreign.name,
        url=settings.resolve_address(foreign.url),
        remote_schema=foreign.namespace,
        tables=foreign.tables,
        local_schema=foreign.into or foreign.name,
        roles=tuple(dict.fromkeys(roles)),
        fetch_size=foreign.fetch_size,
        extensions=foreign.extensions,
    )


def adopt(
    caller: CommandContext,
    removed_site_id: Annotated[
        str, CommandArgument("ID", "Identity of the site that is gone, as the refusal of its schema says it.")
    ],
) -> tuple[Any, bool]:
    """Take over the PostgreSQL schema of a site that is gone for good."""
    settings = caller.settings()
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise UsageError(NO_DATABASE_MESSAGE, remedy="say url under [postgres]")
    # as no engine does: the sessions of those are what is looked for
    server = DatabaseServer(settings.resolve_address(postgres_settings.url), schema="", path="pg_catalog", writing=True)
    connection = server.open_psycopg_connection()
    try:
        table_names = schema_installation.adopt_schema(
            connection, postgres_settings.namespace, caller.identity(), removed_site_id
        )
    except error_translation.list_driver_errors() as error:
        raise error_translation.translate_error(error, server_name=server.server_name) from error
    finally:
        connection.close()
    caller.print_message(f"the schema {postgres_settings.namespace!r} {server.server_name} is this site's")
    if table_names:
        caller.print_message(f"{len(table_names)} tables of the other site are in it: a later ingest removes them")
    return {"schema": postgres_settings.namespace, "adopted": removed_site_id, "tables": table_names}, True

"""The commands ``hven fdw`` and ``hven reclaim``.

``hven fdw`` makes tables of other databases foreign tables of this one. ``hven reclaim`` takes over the schema of a
site that is gone for good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_command, load_site_settings, open_site, print_json
from hven.model.errors import NotFoundError, UsageError
from hven.plugins.postgres import foreign_table_checks, foreign_tables
from hven.plugins.postgres.engine import error_translation, schema_installation
from hven.plugins.postgres.engine.connection_pool import DatabaseConnector
from hven.plugins.postgres.settings import get_foreign_settings, get_postgres_settings

if TYPE_CHECKING:
    from hven.model.settings import Settings
    from hven.plugins.postgres.settings import ForeignDatabaseSettings

LEVEL_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
NO_DATABASE_MESSAGE = "hven.toml names no database for Hven"
MessagePrinter = Callable[..., None]  # prints for people; with --json, it prints nothing


def fdw(
    context: typer.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of the [[foreign]] blocks in hven.toml (default: all).")
    ] = None,
    check_setup: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare both sides, measure, and list the conditions that are sent to the other database."
        ),
    ] = False,
    apply_setup: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Set up the tables, if the engine's role is allowed to. If not, an administrator must run the SQL.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Set up tables of another PostgreSQL database as foreign tables."""
    if check_setup and apply_setup:
        raise UsageError("--check and --apply cannot be combined", remedy="run --apply first, then --check")
    settings = load_site_settings(context)
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise UsageError(
            NO_DATABASE_MESSAGE,
            remedy="set url under [postgres] to the address of the database in which Hven creates the foreign tables",
        )
    url = settings.resolve_secret_address(postgres_settings.url)
    server_name = DatabaseConnector(url, schema="public", search_path="pg_catalog").server_name
    print_message = _discard_message if as_json else print
    results: list[dict[str, Any]] = []
    for foreign in _choose_foreign_databases(settings, name):
        target = _build_foreign_spec(settings, foreign)
        if apply_setup:
            results += _apply_foreign_setup(print_message, target, url, server_name)
        elif check_setup:
            results += _print_setup_findings(print_message, target, url, server_name, role=postgres_settings.read_role)
        else:
            results.append(_print_setup_script(print_message, target, url, server_name))
    if as_json:
        print_json(results)
    if any(result.get("level") == "error" for result in results):
        raise typer.Exit(1)


def _discard_message(*_: object, **__: object) -> None:
    """Print nothing: with ``--json``, the standard output has only JSON."""


def _choose_foreign_databases(settings: Settings, name: str | None) -> list[ForeignDatabaseSettings]:
    """Return the ``[[foreign]]`` block with this name, or all; refuse a name that is not there."""
    databases = get_foreign_settings(settings)
    chosen = [foreign for foreign in databases if name in {None, foreign.name}]
    if chosen:
        return chosen
    if databases:
        known_names = ", ".join(foreign.name for foreign in databases)
        remedy = f"use one of {known_names}"
    else:
        remedy = "describe the database under [[foreign]] in hven.toml, with name, url and tables"
    message = "hven.toml names no foreign database"
    if name:
        message = f"no foreign database is called {name}"
    raise NotFoundError(message, remedy=remedy)


def _apply_foreign_setup(
    print_message: MessagePrinter, target: foreign_tables.ForeignTableSpec, url: str, server_name: str
) -> list[dict[str, Any]]:
    statements = foreign_tables.apply_foreign_setup(target, url, server_name)
    table_count = f"{len(target.tables)} table{'s' * (len(target.tables) != 1)}"
    print_message(
        f"{target.name}: schema {target.local_schema} has {table_count} of the other database, "
        f"{target.database_label}; check them with `hven fdw {target.name} --check`"
    )
    return [{"about": target.name, "done": statement} for statement in statements]


def _print_setup_findings(
    print_message: MessagePrinter,
    target: foreign_tables.ForeignTableSpec,
    url: str,
    server_name: str,
    *,
    role: str | None,
) -> list[dict[str, Any]]:
    results = []
    for finding in foreign_table_checks.collect_foreign_setup_findings(target, url, server_name, role=role):
        results.append(asdict(finding))
        text = f"{LEVEL_MARKS[finding.level]} {finding.about}: {finding.message}"
        if finding.remedy:
            text += f"\n        {finding.remedy}"
        print_message(text)
    return results


def _print_setup_script(
    print_message: MessagePrinter, target: foreign_tables.ForeignTableSpec, url: str, server_name: str
) -> dict[str, Any]:
    text, problem = foreign_tables.connect_and_write_setup_script(target, url, server_name)
    print_message(text, end="")
    if problem:
        print_message(f"hven: extensions were not compared: {problem}", file=sys.stderr)
    return {"about": target.name, "sql": text, "problem": problem}


def _build_foreign_spec(settings: Settings, foreign: ForeignDatabaseSettings) -> foreign_tables.ForeignTableSpec:
    roles = foreign.roles or _list_engine_roles(settings)
    return foreign_tables.ForeignTableSpec(
        name=foreign.name,
        url=settings.resolve_secret_address(foreign.url),
        remote_schema=foreign.namespace,
        tables=foreign.tables,
        local_schema=foreign.into or foreign.name,
        roles=tuple(dict.fromkeys(roles)),
        fetch_size=foreign.fetch_size,
        extensions=foreign.extensions,
    )


def _list_engine_roles(settings: Settings) -> list[str]:
    """Return the roles as which the engine postgres connects and reads."""
    postgres_settings = get_postgres_settings(settings)
    roles = []
    for url in (postgres_settings.url, postgres_settings.read_url):
        if url:
            user_name = foreign_tables.find_database_user(settings.resolve_secret_address(url))
            if user_name:
                roles.append(user_name)
    if postgres_settings.read_role:
        roles.append(postgres_settings.read_role)
    return roles


def refuse_former_name(
    context: typer.Context,
    *,
    removed_site_id: Annotated[str, typer.Argument(metavar="ID", help="Identity of the removed site.")],
) -> None:
    """Former name of `hven reclaim`."""
    raise UsageError(
        "`hven adopt` is now called `hven reclaim`",
        remedy=f"run {format_command(context, 'reclaim', removed_site_id)}",
    )


def take_schema(
    context: typer.Context,
    *,
    removed_site_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="Identity of the removed site, as in the error message about its schema."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Take over the PostgreSQL schema of a site that no longer exists."""
    settings = load_site_settings(context)
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise UsageError(NO_DATABASE_MESSAGE, remedy="set url under [postgres]")
    # Not as an engine connects: `adopt_schema` looks for the sessions of engines.
    server = DatabaseConnector(
        settings.resolve_secret_address(postgres_settings.url), schema="", search_path="pg_catalog", is_writable=True
    )
    connection = server.open_psycopg_connection()
    try:
        with open_site(context) as site:
            site_id = site.store.get_site_id()
        table_names = schema_installation.adopt_schema(
            connection, postgres_settings.namespace, site_id, removed_site_id
        )
    except error_translation.list_driver_error_classes() as error:
        raise error_translation.translate_postgres_error(error, server_name=server.server_name) from error
    finally:
        connection.close()
    if as_json:
        print_json({"schema": postgres_settings.namespace, "adopted": removed_site_id, "tables": table_names})
        return
    print(f"the schema {postgres_settings.namespace!r} {server.server_name} now belongs to this site")
    if table_names:
        print(f"{len(table_names)} tables of the other site are still in the schema; a later ingest removes them")

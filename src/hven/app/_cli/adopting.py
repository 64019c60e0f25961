"""``hven adopt``: the PostgreSQL schema of a site that is gone for good becomes this one's."""

from __future__ import annotations

from typing import Annotated

import typer

from hven.app._cli.context import show_json, site
from hven.model.errors import UsageError


def adopt(
    context: typer.Context,
    gone: Annotated[str, typer.Argument(metavar="ID", help="Identity of the site that is gone, as the refusal of its schema says it.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Take over the PostgreSQL schema of a site that is gone for good."""
    from hven.engines.postgres import faults, install
    from hven.engines.postgres.sessions import Server

    with site(context) as found:
        said = found.settings.postgres
        if said.url is None:
            raise UsageError("hven.toml names no database of ours", remedy="say url under [postgres]")
        # as no engine does: the sessions of those are what is looked for
        server = Server(found.settings.resolved(said.url), schema="", path="pg_catalog", writing=True)
        connection = server.psycopg()
        try:
            tables = install.adopt(connection, said.namespace, found.store.identity(), gone)
        except faults.kinds() as error:
            raise faults.translate(error, where=server.where) from error
        finally:
            connection.close()
    if as_json:
        show_json({"schema": said.namespace, "adopted": gone, "tables": tables})
        return
    print(f"the schema {said.namespace!r} {server.where} is this site's")
    if tables:
        print(f"{len(tables)} tables of the other site are in it: a later ingest removes them")

"""``hven``: all verbs, gathered from the files beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

from hven import __version__
from hven.app._cli import accounts as users
from hven.app._cli import adopting, ask, backups, curate, foreign, judge, mirror, operating, publish, sync
from hven.app._cli.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Describe a collection once, and it is served.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hven {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    site: Annotated[str | None, typer.Option("--site", metavar="DIR", help="The site's directory (default: the one we are in).")] = None,
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Take the options that stand before or after every verb."""
    context.obj = site


for verb in (
    curate.init,
    curate.new,
    curate.check,
    publish.ingest,
    sync.sync,
    mirror.mirror,
    publish.serve,
    publish.work,
    ask.query,
    ask.explain,
    ask.resolve,
    judge.lint,
    operating.status,
    verify,
    publish.history,
    sync.diff,
    publish.rollback,
    publish.move,
    backups.backup,
    backups.restore,
    foreign.fdw,
    adopting.adopt,
    publish.remove,
    curate.schema,
):
    app.command()(verb)
app.add_typer(operating.schedule, name="schedule")
app.add_typer(users.user, name="user")
app.add_typer(users.tables, name="tables")

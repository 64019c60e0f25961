"""What every verb needs: the site that is meant, and two ways to show things - for people and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hven import settings as settings_room
from hven.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.holdings import Site
    from hven.settings import Settings

MARK = "hven.toml"


def settings(context: typer.Context) -> Settings:
    """Load the settings of the site that ``--site`` names, or that the current directory is in.

    Raises
    ------
    UsageError
        There is no site there.
    """
    given = context.obj
    if given is not None:
        directory = Path(given)
        if not (directory / MARK).is_file():
            raise UsageError(f"{directory} is no site: it has no {MARK}", remedy=f"make one with: hven init {directory}")
        return settings_room.load(directory)
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / MARK).is_file():
            return settings_room.load(directory)
    raise UsageError(f"no {MARK} here or above", remedy="say --site DIR, or make a site with: hven init DIR")


def site(context: typer.Context) -> Site:
    """Open that site; close it after use (``with``)."""
    from hven.holdings import Site

    return Site(settings(context))


def show_json(value: Any) -> None:
    """Print for scripts."""
    import orjson

    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    sys.stdout.write(text.decode() + "\n")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table for people; numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    numeric = [all(isinstance(row[at], int | float) or row[at] is None for row in rows) for at in range(len(headings))]
    for heading, is_number in zip(headings, numeric, strict=True):
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    Console(highlight=False).print(table)


def size(count: int | None) -> str:
    """Write a number of bytes."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

"""What every verb needs: the site that is meant, and two ways to show things - for people and as JSON."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hven.model import settings as settings_room
from hven.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.site import Site

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
            raise UsageError(
                f"{directory} is no site: it has no {MARK}", remedy=f"make one with: hven init {directory}"
            )
        return settings_room.load(directory)
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / MARK).is_file():
            return settings_room.load(directory)
    raise UsageError(f"no {MARK} here or above", remedy="say --site DIR, or make a site with: hven init DIR")


def site(context: typer.Context) -> Site:
    """Open that site; close it after use (``with``)."""
    from hven.site import Site  # noqa: PLC0415  (half a second; `init` and `lint` have no site)

    return Site(settings(context))


def show_json(value: Any) -> None:
    """Print as JSON, for scripts."""
    import orjson  # noqa: PLC0415  (for scripts alone)

    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    sys.stdout.write(text.decode() + "\n")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table for people, in aligned columns; numbers stand right. Nothing is cut: ids are there to be copied."""
    shown = [
        ["" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows
    ]
    widths = [max([len(heading), *(len(row[at]) for row in shown)]) for at, heading in enumerate(headings)]
    right = [all(isinstance(row[at], int | float) or row[at] is None for row in rows) for at in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        ).rstrip()

    if title:
        print(title if rows else f"{title}: none")
    if not rows:
        return
    print(line(headings))
    print("  ".join("-" * width for width in widths))
    for row in shown:
        print(line(row))


def moment(stamp: str | None) -> str:
    """Write a time for people: 2026-11-20 09:51:05 (UTC)."""
    return stamp[:19].replace("T", " ") if stamp else ""


def spelled(context: typer.Context, *words: str) -> str:
    """Write a command that the reader may copy, with the ``--site`` that this one had."""
    return " ".join(["hven", *(["--site", shlex.quote(context.obj)] if context.obj else []), *words])


def size(count: int | None) -> str:
    """Format a number of bytes."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

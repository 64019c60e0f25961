"""What every verb needs: the site that is meant, and two ways to show things - for people and as JSON."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hven.model import settings as site_settings
from hven.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.site import Site

SITE_FILE = "hven.toml"


def load_site_settings(context: typer.Context) -> Settings:
    """Load the settings of the site that ``--site`` names, or that the current directory is in.

    Raises
    ------
    UsageError
        There is no site there.
    """
    site_directory = context.obj
    if site_directory is not None:
        directory = Path(site_directory)
        if not (directory / SITE_FILE).is_file():
            raise UsageError(
                f"{directory} is no site: it has no {SITE_FILE}", remedy=f"make one with: hven init {directory}"
            )
        return site_settings.load_settings(directory)
    current_directory = Path.cwd()
    for directory in (current_directory, *current_directory.parents):
        if (directory / SITE_FILE).is_file():
            return site_settings.load_settings(directory)
    raise UsageError(f"no {SITE_FILE} here or above", remedy="say --site DIR, or make a site with: hven init DIR")


def open_site(context: typer.Context) -> Site:
    """Open that site; close it after use (``with``)."""
    from hven.site import Site  # noqa: PLC0415  (half a second; `init` and `lint` have no site)

    return Site(load_site_settings(context))


def show_json(value: Any) -> None:
    """Print as JSON, for scripts."""
    import orjson  # noqa: PLC0415  (for scripts alone)

    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    text = orjson.dumps(value, option=option, default=str)
    sys.stdout.write(text.decode() + "\n")


def _format_cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table for people, in aligned columns; numbers stand right. Nothing is cut: ids are there to be copied."""
    cell_texts = [[_format_cell(cell) for cell in row] for row in rows]
    widths = [max([len(heading), *(len(row[at]) for row in cell_texts)]) for at, heading in enumerate(headings)]
    is_numeric = [
        all(isinstance(row[at], int | float) or row[at] is None for row in rows) for at in range(len(headings))
    ]

    def format_line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, is_numeric, strict=True)
        ).rstrip()

    if title:
        print(title if rows else f"{title}: none")
    if not rows:
        return
    print(format_line(headings))
    print("  ".join("-" * width for width in widths))
    for row in cell_texts:
        print(format_line(row))


def format_time(timestamp: str | None) -> str:
    """Write a time for people: 2026-11-20 09:51:05 (UTC)."""
    if timestamp:
        return timestamp[:19].replace("T", " ")
    return ""


def format_command(context: typer.Context, *arguments: str) -> str:
    """Write a command that the reader may copy, with the ``--site`` that this one had."""
    return " ".join(["hven", *(["--site", shlex.quote(context.obj)] if context.obj else []), *arguments])


def format_size(byte_count: int | None) -> str:
    """Format a number of bytes."""
    if byte_count is None:
        return ""
    amount = float(byte_count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            if unit == "B":
                return f"{amount:.0f} {unit}"
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

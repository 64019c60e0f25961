"""Tools of all verbs: find the site that the user means, and print tables or JSON."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hven.model import plugins
from hven.model import settings as site_settings
from hven.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.settings import Settings
    from hven.site import Site

SITE_FILE = "hven.toml"


def load_site_settings(context: typer.Context) -> Settings:
    """Load the settings of the site that ``--site`` names, or that contains the current directory.

    Parameters
    ----------
    context
        Context of the verb, whose object is the value of ``--site``.

    Returns
    -------
    settings
        The settings of the site.

    Raises
    ------
    UsageError
        There is no site there.
    UserError
        The verb belongs to a plug-in package that the site leaves out.
    """
    settings = site_settings.load_settings(_find_site_directory(context.obj))
    error = plugins.find_disabled_plugin_error("verbs", context.info_name or "")
    if error is not None:
        raise error
    return settings


def _find_site_directory(given_directory: str | None) -> Path:
    """Find the directory of the site that the user means.

    Raises
    ------
    UsageError
        There is no site there.
    """
    if given_directory is not None:
        directory = Path(given_directory)
        if not os.path.lexists(directory / SITE_FILE):  # the settings report a directory or a dangling link
            reason, remedy = f"it has no {SITE_FILE}", f"create one with `hven init {directory}`"
            if directory.is_file():
                reason, remedy = "it is a file", f"give the directory of the site: --site {directory.parent}"
            elif not directory.exists():
                reason = "there is no such directory"
            raise UsageError(f"{directory} is not a site: {reason}", remedy=remedy)
        return directory
    current_directory = Path.cwd()
    for directory in (current_directory, *current_directory.parents):
        if os.path.lexists(directory / SITE_FILE):
            return directory
    raise UsageError(
        f"neither this directory nor any directory above it contains {SITE_FILE}",
        remedy="give --site DIR, or create a site with `hven init DIR`",
    )


def open_site(context: typer.Context) -> Site:
    """Open the site that `load_site_settings` finds; use it in a ``with`` statement, which closes it.

    Parameters
    ----------
    context
        Context of the verb, whose object is the value of ``--site``.

    Returns
    -------
    site
        The open site.
    """
    from hven.site import Site  # noqa: PLC0415  (the import takes half a second, and `init` and `lint` need no site)

    return Site(load_site_settings(context))


def print_json(value: Any) -> None:
    """Print a value as JSON, for scripts.

    Parameters
    ----------
    value
        Anything that JSON can hold; other objects are written as their text.
    """
    import orjson  # noqa: PLC0415  (needed only with --json)

    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    text = orjson.dumps(value, option=option, default=str)
    sys.stdout.write(text.decode() + "\n")


def _format_cell(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return str(cell)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table in aligned columns, numbers to the right. Nothing is cut, so that ids can be copied.

    Parameters
    ----------
    headings
        Headings of the columns.
    rows
        Cells of each row, in the order of the headings.
    title
        A line above the table.
    """
    if title:
        print(title if rows else f"{title}: none")
    if not rows:
        return
    cell_texts = [[_format_cell(cell) for cell in row] for row in rows]
    widths = []
    aligners: list[Callable[[str, int], str]] = []
    for position, heading in enumerate(headings):
        cell_widths = [len(texts[position]) for texts in cell_texts]
        widths.append(max(len(heading), *cell_widths))
        cells = [row[position] for row in rows]
        is_numeric = all(isinstance(cell, int | float | None) and not isinstance(cell, bool) for cell in cells)
        aligners.append(str.rjust if is_numeric else str.ljust)
    rules = ["-" * width for width in widths]
    for texts in (headings, rules, *cell_texts):
        aligned_texts = [align(text, width) for align, text, width in zip(aligners, texts, widths, strict=True)]
        print("  ".join(aligned_texts).rstrip())


def format_time(timestamp: str | None) -> str:
    """Format a time (UTC) as 2026-11-20 09:51:05.

    Parameters
    ----------
    timestamp
        A time in ISO 8601; None or empty: there is none.

    Returns
    -------
    text
        Empty without a time.
    """
    if timestamp:
        return timestamp[:19].replace("T", " ")
    return ""


def format_command(context: typer.Context, *arguments: str) -> str:
    """Format a command that the user can copy, with the same ``--site`` as this one.

    Parameters
    ----------
    context
        Context of the verb.
    arguments
        The verb and its arguments.

    Returns
    -------
    command
        A line for the shell.
    """
    site_option = []
    if context.obj:
        site_option = ["--site", shlex.quote(context.obj)]
    return " ".join(["hven", *site_option, *arguments])


def format_size(byte_count: int | None) -> str:
    """Format a number of bytes with a decimal unit (B to TB).

    Parameters
    ----------
    byte_count
        Number of bytes; None: an empty text.

    Returns
    -------
    text
        ``6.0 MB``.
    """
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

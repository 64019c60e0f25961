"""``hven init``: create a site."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hven.model import settings


def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to create.")]) -> None:
    """Create a site: hven.toml and collections/."""
    site_directory = settings.create_site_directory(directory)
    print(f"{site_directory} is now a site. Next, run: hven --site {shlex.quote(str(directory))} new NAME --from FILE")

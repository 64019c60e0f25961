"""What a bench needs beside Hven: a group says it in NEEDS, {what: journeys that need it}; what is missing is told before anything is measured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql")
ENVIRONMENT = "`.venv/bin/python -m pip install --group test` brings it"
# what -> how one gets it: a program of the PATH, a package of Python, or something that `is_available` looks at
THINGS = {
    "wrk": "apt-get install wrk",
    "psql": "apt-get install postgresql-client",
    "chromium": "apt-get install chromium",
    "java": "apt-get install default-jre-headless",
    "PostgreSQL": "apt-get install postgresql",
    "PostgreSQL 15": "apt-get install postgresql-15",
    "pytest": ENVIRONMENT,
    "playwright": ENVIRONMENT,
    "rasterio": ENVIRONMENT,
    "root": "PostgreSQL is started under its own account: run it in a container",
}
PACKAGES = {"pytest", "playwright", "rasterio"}


class Lacking(SystemExit):
    """Something is missing; the text says what, and the remedy."""


def is_available(what: str) -> bool:
    """Tell whether this machine has it."""
    if what == "root":
        return os.geteuid() == 0
    if what.startswith("PostgreSQL"):
        version = what.removeprefix("PostgreSQL").strip() or "*"
        return any(POSTGRES.glob(f"{version}/bin/initdb")) or (version == "*" and shutil.which("initdb") is not None)
    return find_spec(what) is not None if what in PACKAGES else shutil.which(what) is not None


def need(group: str, things: Iterable[str]) -> None:
    """End with a sentence if anything is missing."""
    missing = [f"{what} ({THINGS[what]})" for what in things if not is_available(what)]
    if missing:
        raise Lacking(f"bench {group} needs {', '.join(missing)}")


def list_needs(needs: Mapping[str, tuple[str, ...]], only: str) -> list[str]:
    """Give what the journeys need whose name has a word in it; (): all of a group do."""
    return [
        what for what, journeys in needs.items() if not only or not journeys or any(only in name for name in journeys)
    ]

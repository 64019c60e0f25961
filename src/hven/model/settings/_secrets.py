"""Secrets: names in settings and descriptors, values in the environment or in ``secrets.toml`` beside hven.toml."""

from __future__ import annotations

import os
import shlex
import tomllib
from typing import TYPE_CHECKING

from hven.model.errors import Fault, SourceError, TextPlace

if TYPE_CHECKING:
    from pathlib import Path

SECRETS_FILE = "secrets.toml"


def find_exposed_file_faults(directory: Path, *private_directories: Path) -> list[Fault]:
    """List what other accounts of this machine can read that is the site's alone.

    Its secrets, rows of private tables, digests of tokens.

    Parameters
    ----------
    directory
        The site's.
    private_directories
        Directories of its state and data. What is in them does not matter: who cannot enter a directory sees nothing of
        it.

    Returns
    -------
    faults
        Warnings, each with its remedy.
    """
    faults = []
    directory_message = "every account on this machine can enter the directory"
    for path, forbidden_mode, message in (
        (directory / SECRETS_FILE, 0o004, "every account on this machine can read the file"),
        *((path, 0o001, directory_message) for path in dict.fromkeys(private_directories)),
    ):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & forbidden_mode:
            place = TextPlace(file=str(path))
            faults.append(
                Fault(
                    message=message,
                    place=place,
                    remedy=f"run `chmod o-rwx {shlex.quote(str(path))}`",
                    severity="warning",
                )
            )
    return faults


def resolve_secret(directory: Path, secret_name: str) -> str:
    """Resolve ``$NAME``: the environment wins over ``secrets.toml`` beside hven.toml.

    Parameters
    ----------
    directory
        The site's.
    secret_name
        ``$NAME`` or ``NAME``.

    Returns
    -------
    value
        Never to be shown.

    Raises
    ------
    SourceError
        It is in neither, or the file cannot be read. The message never holds a value.
    """
    variable = secret_name.removeprefix("$")
    environment_value = os.environ.get(variable)
    if environment_value is not None:
        return environment_value
    path = directory / SECRETS_FILE
    try:
        if path.exists():
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        else:
            values = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(
            f"{path} cannot be read: {type(error).__name__}", remedy="write one line for each secret: NAME = 'value'"
        ) from error
    value = values.get(variable)
    if not isinstance(value, str):
        raise SourceError(
            f"the secret {variable} is not set",
            remedy=f"set the environment variable {variable}, or add {variable} = '...' to {path}",
        )
    return value

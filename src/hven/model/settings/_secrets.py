"""Secrets: names in settings and descriptors, values in the environment or in ``secrets.toml`` beside hven.toml."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

from hven.model.errors import Fault, Place, SourceError

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = "secrets.toml"


def exposed(directory: Path, *kept: Path) -> list[Fault]:
    """List what other accounts of this machine can read that is the site's alone: its secrets, rows of private tables, digests of tokens.

    Parameters
    ----------
    directory
        The site's.
    kept
        Directories of its state and data. What is in them does not matter: who cannot enter a directory sees nothing of it.

    Returns
    -------
    faults
        Warnings, each with its remedy.
    """
    found = []
    for path, others in ((directory / SECRETS, 0o004), *((path, 0o001) for path in dict.fromkeys(kept))):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & others:
            message = "every account of this machine can read it"
            found.append(
                Fault(
                    message=message,
                    place=Place(file=str(path)),
                    remedy=f"shut them out: chmod o-rwx {path}",
                    severity="warning",
                )
            )
    return found


def secret(directory: Path, name: str) -> str:
    """Resolve ``$NAME``: the environment wins over ``secrets.toml`` beside hven.toml.

    Parameters
    ----------
    directory
        The site's.
    name
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
    word = name.removeprefix("$")
    found = os.environ.get(word)
    if found is not None:
        return found
    path = directory / SECRETS
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(
            f"{path} cannot be read: {type(error).__name__}", remedy="one line for each: NAME = 'value'"
        ) from error
    value = values.get(word)
    if not isinstance(value, str):
        raise SourceError(
            f"the secret {word} is not set",
            remedy=f"set the environment variable {word}, or write {word} = '...' into {path}",
        )
    return value

"""The files behind the rows: what is in them, read by windows. One file per medium, whose name is the file's.

A medium's module has `MEDIUM`, a :class:`Medium`. It opens a file as a `Product` of parts: arrays (`Array`), read a window at a time, and
tables (`Rows`), read as Arrow batches; nothing is read before it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.formats.media import _selecting as selecting
from hven.formats.media._conversions import as_fits, as_votable
from hven.formats.media._cuts import Cut, cut
from hven.formats.media._product import Array, Axis, Card, Part, Product, Rows, Stored
from hven.formats.media._spectral import polarizations, times, wavelengths
from hven.formats.media._windows import Selection, window
from hven.model import plugins
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

HEAD = 8192  # bytes by which a file's medium is told
MOST = 1000  # parts of a file that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A kind of product file: ``MEDIUM`` of its module.

    Attributes
    ----------
    name
        As its module's.
    title
        For people.
    media_types
        The usual one first.
    endings
        Of files' names, in lower case: ``fits``.
    begins
        A regular expression for how files begin; empty: only their names tell.
    open
        Opens a file, or what reads one from elsewhere; raises `SourceError` where it is none or damaged.
    beside
        It is read together with files beside it (a label): only files have that.
    """

    name: str
    title: str
    media_types: tuple[str, ...]
    endings: tuple[str, ...]
    begins: bytes = b""
    open: Callable[[Path | BinaryIO], Product]
    beside: bool = False


def media() -> Mapping[str, Medium]:
    """List every medium, by name: built-in and plugged in.

    Returns
    -------
    media
        Those whose libraries are installed.
    """
    found: dict[str, Medium] = plugins.records("media")
    return found


def medium_of(name: str, head: bytes = b"") -> Medium | None:
    """Tell the medium of a file.

    Parameters
    ----------
    name
        Of the file.
    head
        Its first `HEAD` bytes; empty: only its name is asked.

    Returns
    -------
    medium
        None: it is none that is known. What a file begins with counts for more than its name.
    """
    words = name.lower().rsplit("/", 1)[-1].split(".")[1:]
    named = [one for one in media().values() if any(".".join(words[at:]) in one.endings for at in range(len(words)))]
    begun = [one for one in media().values() if one.begins and re.match(one.begins, head, re.DOTALL)] if head else []
    both = [one for one in named if one in begun]
    return next(iter([*both, *begun, *(one for one in named if not head or not one.begins)]), None)


def open_product(path: Path, name: str | None = None) -> Product:
    """Open a file as what it is.

    Parameters
    ----------
    path
        Of a file.
    name
        By which readers know it; None: the file's own.

    Returns
    -------
    product
        To be closed.

    Raises
    ------
    SourceError
        It is of no medium that is known, damaged, or empty.
    """
    name = name or path.name
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        medium = medium_of(name, head)
        if not head or medium is None:
            why = (
                say("{name} is empty", name) if not head else say("{name} is of no kind that can be looked into", name)
            )
            raise SourceError(why, remedy=say("known kinds: {kinds}", ", ".join(one.title for one in media().values())))
        return medium.open(path)
    except OSError as error:
        raise SourceError(
            say("{name} cannot be read: {reason}", name, error.strerror or type(error).__name__)
        ) from None


__all__ = [
    "HEAD",
    "MOST",
    "Array",
    "Axis",
    "Card",
    "Cut",
    "Medium",
    "Part",
    "Product",
    "Rows",
    "Selection",
    "Stored",
    "as_fits",
    "as_votable",
    "cut",
    "media",
    "medium_of",
    "open_product",
    "polarizations",
    "selecting",
    "times",
    "wavelengths",
    "window",
]

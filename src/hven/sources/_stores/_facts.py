"""What a server says of a file, and the words for what it does not give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from hven.model.errors import FarFault, FarSilence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

MIB = 1 << 20
AWAY = "the server that keeps it cannot be reached"
SLOW = "the server that keeps it does not answer in time"
MISSING = "the server that keeps it has it no more"
REFUSED = "the server that keeps it does not give it"
CHANGED = "it was changed while it was read"
LEADS = "the server that keeps it sends us somewhere else"
_SIGNS = re.compile(r"\[[^\]/]+\]|.", re.DOTALL)
LATER, OWNER = "try again later", "tell its owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A file as its server knows it.

    Attributes
    ----------
    bytes, modified
        Size; time of the last change, UTC without a zone. None: not said.
    tag
        What else tells this state from others: an ETag, a version.
    """

    bytes: int | None = None
    modified: datetime | None = None
    tag: str | None = None


class Whole(FarFault):
    """The server gives files from their begin to their end, and no parts of them."""


def missing() -> FarFault:
    """Make the error of a file that is gone."""
    return FarFault(MISSING, remedy=OWNER)


def changed() -> FarFault:
    """Make the error of a file that is another one now."""
    return FarFault(CHANGED, remedy=LATER)


def slow() -> FarSilence:
    """Make the error of a server that takes too long."""
    return FarSilence(SLOW, remedy=LATER)


def away() -> FarFault:
    """Make the error of a server that is not there."""
    return FarFault(AWAY, remedy=LATER)


@cache
def pattern(text: str) -> re.Pattern[str]:
    """Read a pattern: ``*``, ``?``, ``[abc]`` within a name; ``**`` between slashes stands for any directories."""
    parts = [
        (r"(?:[^/]+/)*" if part == "**" else "".join(map(_sign, _SIGNS.findall(part))) + "/")
        for part in text.split("/")
    ]
    return re.compile("".join(parts).removesuffix("/") if parts[-1].endswith("/") else "".join(parts) + "[^/]+")


def _sign(text: str) -> str:
    if text in {"*", "?"}:
        return "[^/]*" if text == "*" else "[^/]"
    if len(text) > 1:  # [abc], [!a-f]
        return "[" + re.sub(r"([\\^\[\]])", r"\\\1", text[1:-1]).replace("!", "^", text[1] == "!") + "]"
    return re.escape(text)


def fixed(text: str) -> str:
    """Return the directories that a pattern names before its first sign.

    Parameters
    ----------
    text
        A pattern: ``data/*/a.fits``.

    Returns
    -------
    directories
        ``data``; empty: none.
    """
    kept = []
    for part in text.split("/")[:-1]:
        if set("*?[") & {*part}:
            break
        kept.append(part)
    return "/".join(kept)


def wanted(path: str, patterns: Sequence[str], ignore: Sequence[str]) -> bool:
    """Return whether patterns mean a path.

    Parameters
    ----------
    path
        Below a root, with ``/`` between its parts.
    patterns, ignore
        Those of which one must mean it, and those of which none may, by path or name.
    """
    name = path.rpartition("/")[2]
    left = any(pattern(one).fullmatch(path) or pattern(one).fullmatch(name) for one in ignore)
    return not left and any(pattern(one).fullmatch(path) for one in patterns)

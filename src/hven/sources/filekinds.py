"""Which kind of source reads a file, told by its name or by how it begins, or a service, told by its address; each kind says of itself what it knows (`FileKind`, `ServiceKind`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UserError
from hven.sources._reading.files import PACKED, DataFile
from hven.sources._reading.foreign import known as other

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hven.sources import FileKind, ServiceKind

HEAD = 8192  # bytes that are looked at
LOT, LONGEST = 1 << 20, 64 << 20  # bytes that are read to see how a file ends: at a time, and at most
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # UTF-16


def named(file: str) -> str | None:
    """Recognise the kind by a file's name or pattern, compressed or not.

    Parameters
    ----------
    file
        Name, path or pattern; case does not matter.

    Returns
    -------
    kind
        None: no kind has files of that ending.
    """
    *_, ending = ("", *(part for part in file.lower().rsplit("/", 1)[-1].split(".")[1:] if part not in PACKED))
    # a plug-in that somebody installed for such files is meant, whoever else could read them
    kinds = sorted(plugins.names("sources"), key=lambda name: name not in plugins.installed("sources"))
    return next((name for name, known in _known(kinds) if ending in known.endings), None)


def begun(head: bytes, among: Iterable[str] | None = None) -> str | None:
    """Recognise the kind by a file's first bytes; of several that know them the last, so that what nobody else knows is text.

    Parameters
    ----------
    head
        The first `HEAD` bytes, decompressed.
    among
        Names of kinds, the one that knows most last; None: all that there are.

    Returns
    -------
    kind
        None: no kind begins so.
    """
    if head.startswith(_WIDE):
        head = head.decode("utf-16", "replace").encode()
    kinds = plugins.names("sources") if among is None else among
    found = [name for name, known in _known(kinds) if known.begins and re.match(known.begins, head)]
    return found[-1] if found else None


def inside(path: Path) -> str | None:
    """Recognise the kind of a file by its first bytes, decompressed.

    Parameters
    ----------
    path
        Of a file that is there.

    Returns
    -------
    kind
        None: they tell nothing, or are damaged.
    """
    try:
        stream = DataFile(path=path, name=path.name).open()
        try:
            head = stream.read(HEAD)
            kind = begun(head)
            alike = [one for one in _known(plugins.names("sources")) if kind and one[1].like == kind]
            # those that say so further on in a file of this kind, where headers are long
            if deeper := [(name, known.begins) for name, known in alike if known.begins and not known.ends]:
                head += stream.read(LOT)
                kind = next((name for name, begins in deeper if re.match(begins, head)), kind)
            special = [(name, known.ends) for name, known in alike if known.ends]
            if special:
                size = len(head)
                while size < LONGEST and (more := stream.read(LOT)):
                    head, size = (head + more)[-HEAD:], size + len(more)
            return next((name for name, ends in special if re.search(ends, head)), kind)
        finally:
            stream.close()
    except SourceError:  # damaged
        return None


def service(kind: str) -> ServiceKind | None:
    """Look up whether a kind reads services elsewhere, of which a part is looked at.

    Parameters
    ----------
    kind
        Its name.

    Returns
    -------
    found
        None: it reads files, or databases.
    """
    return next((known for _, known in _said([kind], "SERVICE")), None)


def addressed(address: str) -> tuple[str, dict[str, str]] | None:
    """Recognise the kind of a service by its address.

    Parameters
    ----------
    address
        The whole of it, with http or https.

    Returns
    -------
    kind, options
        None: no kind knows it.
    """
    for name, known in _said(plugins.names("sources"), "SERVICE"):
        if known.address and (match := re.fullmatch(known.address, address, re.IGNORECASE)):
            return name, {option: value for option, value in match.groupdict().items() if value is not None}
    return None


def _known(kinds: Iterable[str]) -> Iterator[tuple[str, FileKind]]:
    return _said(kinds, "FILES")


def _said(kinds: Iterable[str], word: str) -> Iterator[tuple[str, Any]]:
    """Ask kinds one by one, for to load all of them takes a quarter of a second."""
    for name in kinds:
        try:
            known = vars(plugins.load("sources", name)).get(word)
        except UserError:  # what it needs is not installed
            continue
        if known is not None:
            yield name, known


__all__ = ["PACKED", "addressed", "begun", "inside", "named", "other", "service"]

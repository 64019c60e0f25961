"""Files of collections that lie on other servers: what these say of them now, whether they are the ones that were published, and which fault it is when not.

Common
------
around
    The site.
row
    As `hven.services.filed.asked` found it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hven.model.errors import FarFault, HvenError, Unavailable, say
from hven.model.table import rooted
from hven.services._far_blocks import FarBlocks
from hven.sources.stores import LATER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.model.table import Root
    from hven.services._far_blocks import FarFile
    from hven.services.face import Surroundings

Item = TypeVar("Item")
Answer = TypeVar("Answer")
AT_ONCE = 8  # threads of one reader that wait for other servers
ASKED = 64  # files of other servers that are asked about at a time


def far_blocks(around: Surroundings) -> FarBlocks:
    """Return what reads files on other servers."""
    found: FarBlocks = around.site.kept(FarBlocks, around.site.settings)
    return found


def root_of(row: dict[str, Any]) -> tuple[Root, str] | None:
    """Return where a file lies on another server: its root, and its path below; None: it lies here."""
    found = rooted(row["path"], row["roots"])
    return None if found[0].scheme is None else found


@contextmanager
def told(row: dict[str, Any]) -> Iterator[None]:
    """Say which file it is that another server does not give.

    Raises
    ------
    FarFault
        With its path, as readers know it.
    """
    try:
        yield
    except FarFault as error:
        message = say("the file {path} cannot be had now: {reason}", row["path"], error.message)
        raise type(error)(message, remedy=error.remedy) from error


def published(row: dict[str, Any], found: FarFile) -> FarFile:
    """See that a file elsewhere is the one that was published.

    Parameters
    ----------
    found
        What its server says of it.

    Returns
    -------
    found
        The same.

    Raises
    ------
    Unavailable
        It is another one.
    """
    when = moment(row)
    other = when is not None and found.fact.modified not in {None, when}
    if other or row["bytes"] not in {None, found.bytes}:
        raise changed(row)
    return found


def moment(row: dict[str, Any]) -> datetime | None:
    """Return when a file was changed: UTC, without a zone."""
    return None if row["modified"] is None else datetime.fromtimestamp(row["modified"], UTC).replace(tzinfo=None)


def far_file(around: Surroundings, row: dict[str, Any], *, read: bool = False) -> FarFile | None:
    """Ask what a file elsewhere is now, in a thread.

    Parameters
    ----------
    read
        Its bytes are wanted next.

    Returns
    -------
    file
        None: it lies here.

    Raises
    ------
    FarFault, Unavailable
        Its server does not give it, or has another one.
    """
    there = root_of(row)
    if there is None:
        return None
    far = far_blocks(around)
    with told(row):
        return published(row, far.waited(far.asking(*there, read=read)))


def build_read_ahead(around: Surroundings, row: dict[str, Any]) -> Callable[[], None] | None:
    """Return what begins to read a file on another server, for who needs it soon.

    Parameters
    ----------
    row
        Of the file.

    Returns
    -------
    begin
        Does not wait, and raises nothing; None: the file lies here, or has no bytes.
    """
    there = root_of(row) if row["bytes"] else None
    return None if there is None else partial(far_blocks(around).begin_reading, *there)


def settled(around: Surroundings, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any] | HvenError]:
    """Ask for files on other servers, several at once, so that each has a size, a time and a state.

    Parameters
    ----------
    rows
        Of such files, as `asked` found them. Of those whose size and time were published nothing is asked.

    Returns
    -------
    rows
        In their order; why one cannot be had, where its server says so or its bytes did not come a while ago.
    """
    far = far_blocks(around)
    made: list[dict[str, Any] | HvenError] = []
    for at in range(0, len(rows), ASKED):
        some = [(row, *rooted(row["path"], row["roots"])) for row in rows[at : at + ASKED]]
        known = [row["bytes"] is not None and row["modified"] is not None for row, _, _ in some]
        asking = [None if said else far.asking(root, below) for said, (_, root, below) in zip(known, some, strict=True)]
        for (row, root, below), answer in zip(some, asking, strict=True):
            try:
                with told(row):
                    if (fault := far.fault(root, below)) is not None:
                        raise fault
                    if answer is not None:
                        file = published(row, far.waited(answer))
                        when = file.fact.modified
                        seconds = 0.0 if when is None else when.replace(tzinfo=UTC).timestamp()
                        row = {**row, "bytes": file.bytes, "modified": seconds, "tag": row["sha256"] or file.key}  # noqa: PLW2901
                made.append(row)
            except HvenError as error:
                made.append(error)
    return made


def away(error: HvenError) -> bool:
    """Return whether a fault is one of a server that may give the file later: what is made without it is not the same.

    Parameters
    ----------
    error
        Any.
    """
    return isinstance(error, FarFault) and error.remedy == LATER


def together(call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Call a function for some items, several at once: it waits for other servers.

    Parameters
    ----------
    call
        Thread-safe.
    items
        Any.

    Returns
    -------
    answers
        In the items' order.
    """
    with ThreadPoolExecutor(AT_ONCE, "hven-elsewhere") as pool:
        return list(pool.map(call, items))


def state_of(around: Surroundings, row: dict[str, Any]) -> str:
    """Return what tells a state of a file from others."""
    there = far_file(around, row)
    return str(row["tag"]) if there is None else there.key


def changed(row: dict[str, Any]) -> Unavailable:
    """Make the fault of a file that is not the one that was published."""
    return Unavailable(
        f"the file {row['path']} was changed since it was published",
        remedy="its owner must ingest the collection again",
    )

"""What is made of a collection's files before anybody asks: pictures, and rotated copies of cubes; of what is new alone, and each file by itself."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import medium_of
from hven.formats.pictures import FILMS, films
from hven.model.clock import Task
from hven.model.errors import Cancelled, HvenError, StorageError, Unavailable, UserError
from hven.model.table import drawn
from hven.services import drawings, filed, rotations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.services.face import Surroundings
    from hven.site.auth import Reader

PREVIEWS, SPECTRA = WHAT = ("previews", "spectra")
TOGETHER = 256  # files that are asked for at once


@dataclass(slots=True, kw_only=True)
class Prepared:
    """What was made.

    Attributes
    ----------
    files
        That were new.
    pictures, copies
        How many.
    bytes
        Of both.
    failed
        Why nothing could be made of a file, by path.
    left
        Files whose pictures would have pushed out those that were made just now: `files.pictures` of the settings is full.
    """

    files: int = 0
    pictures: int = 0
    copies: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0


def prepare(
    around: Surroundings,
    who: Reader,
    collection: str,
    what: Sequence[str] = WHAT,
    *,
    patterns: Sequence[str] = (),
    part: str | None = None,
    through: int | None = None,
    again: bool = False,
    task: Task = Task(),  # noqa: B008  (it is frozen)
) -> Prepared:
    """Make what is to be made of a collection's files that are new, and remove copies of what is no more.

    Parameters
    ----------
    around
        The site.
    who
        By whose rights files are taken.
    collection
        Its name.
    what
        ``previews``: thumbnails and quicklooks; ``spectra``: rotated copies of cubes.
    patterns
        Of paths; empty: all that can be looked into.
    part, through
        Of cubes, as of `rotations.make`.
    again
        What was looked at before, too.
    task
        What it is told to.

    Returns
    -------
    prepared
        What was made, and what failed.

    Raises
    ------
    NotFound
        The collection has no files.
    StorageError
        The disk.
    Cancelled
        It was stopped: what was made stays.
    """
    settings, made = around.site.settings, Prepared()
    seen = _Seen(settings.var / "prepared" / collection)
    # pictures first: where the disk has no room for copies, it ends
    todo = sorted(seen.new(_wanted(around, who, collection, what, patterns), again=again), key=lambda one: one[1])
    rotations.sweep(around, collection)  # not before it is known that there is such a collection
    made.files = len({path for path, _, _ in todo})
    try:
        for start in range(0, len(todo), TOGETHER):
            some = todo[start : start + TOGETHER]
            found = filed.asked(around, who, collection, list(dict.fromkeys(path for path, _, _ in some)))
            for at, (path, one, mark) in enumerate(some, start):
                task.go(at / len(todo))
                inner = Task(lambda share, at=at: task.told((at + share) / len(todo)), task.stopped)  # type: ignore[misc]
                try:
                    if one == SPECTRA:
                        turned = rotations.make(around, who, collection, path, part=part, through=through, task=inner)
                        made.copies, made.bytes = made.copies + bool(turned.bytes), made.bytes + turned.bytes
                    elif made.bytes < settings.files.pictures:
                        _draw(around, filed.original(around, who, found, path), collection, made)
                    else:
                        made.left += 1
                        continue
                except rotations.NoCube:
                    pass
                except Exception as error:  # one file must not end it for all
                    if isinstance(error, Cancelled) or (
                        isinstance(error, StorageError) and not isinstance(error, Unavailable)
                    ):
                        raise
                    made.failed[path] = (
                        str(error) if isinstance(error, HvenError) else f"{type(error).__name__}: {error}"
                    )
                    if not isinstance(error, UserError):  # it may come right
                        continue
                seen.add(mark)
    finally:
        seen.keep()
    return made


def _wanted(
    around: Surroundings, who: Reader, collection: str, what: Sequence[str], patterns: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield paths, what is made of each, and what tells its state."""
    pictured = (*drawn(), *(f".{one}" for one in FILMS if films()))
    note = drawings.credited(around, collection, drawings.USUAL[0]).note  # stands in the pictures
    for path, state in filed.states(around, who, collection):
        if patterns and not any(fnmatch.fnmatchcase(path, one) for one in patterns):
            continue
        for one in what:
            if path.lower().endswith(pictured) if one == PREVIEWS else medium_of(path) is not None:
                yield path, one, f"{state} {note}" if one == PREVIEWS else state


def _draw(around: Surroundings, file: filed.Original, collection: str, made: Prepared) -> None:
    shelf = drawings.shelf(around)
    for usual in drawings.USUAL:
        look = drawings.credited(around, collection, usual)
        key = drawings.key_of([file], look)
        if drawings.find(shelf, key) is None:
            made.bytes += len(drawings.drawn(shelf, key, [(file.path, file.name)], look))
            made.pictures += 1


class _Seen:
    """What was looked at before, as 8 bytes for each state of a file: a collection that is synchronised often looks at what is new alone."""

    def __init__(self, place: Path) -> None:
        self._place, self._new = place, list[int]()
        self._known = np.sort(np.fromfile(place, "<u8")) if place.is_file() else np.empty(0, "<u8")

    def new(self, wanted: Iterator[tuple[str, str, str]], *, again: bool) -> Iterator[tuple[str, str, int]]:
        """Yield those that were not looked at as they are now, each with its mark."""
        for path, one, state in wanted:
            said = f"{drawings.DRAWN} {filed.READ} {one} {path} {state}".encode("utf-8", "surrogateescape")
            mark = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")
            at = int(np.searchsorted(self._known, np.uint64(mark)))
            if again or at == len(self._known) or self._known[at] != mark:
                yield path, one, mark

    def add(self, mark: int) -> None:
        self._new.append(mark)
        if len(self._new) >= TOGETHER:
            self.keep()

    def keep(self) -> None:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with self._place.open("ab") as file:
            file.write(np.array(self._new, "<u8").tobytes())
        self._new.clear()

"""Rotated copies of cubes, from which spectra are read at once: made where somebody asks for them, used by all who read the file, gone with its state.

Common
------
around
    The site.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven import ingest
from hven.formats.media import open_product, rotated
from hven.model.clock import Task
from hven.model.errors import HvenError, NotFound, say
from hven.services import _cube as cube
from hven.services import filed
from hven.services._cube import NoCube
from hven.services._unfinished import left
from hven.site.auth import OWNER

if TYPE_CHECKING:
    from pathlib import Path

    from hven.formats.media import Array, Product
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

OF = "of"  # the file of a directory of copies that names the path of the original
_STATE = re.compile(r"[0-9a-f]{64}")
_COPY = re.compile(r"(\d+)-(\d+)\.npy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """What was made.

    Attributes
    ----------
    parts
        Names or indices of the arrays that have copies now.
    bytes
        Of those that were made; 0: they were there.
    """

    parts: tuple[str, ...]
    bytes: int


def opened(found: filed.Original) -> Product:
    """Open a file; its copies are read where that is less.

    Parameters
    ----------
    found
        A file, as its reader may take it.

    Returns
    -------
    product
        To be closed.

    Raises
    ------
    SourceError
        It is of no medium that is known, damaged, or empty.
    """
    product = open_product(found.path, found.name)
    with suppress(OSError):
        names = map(_COPY.fullmatch, os.listdir(found.copies))  # noqa: PTH208  (names alone)
        return rotated.used(product, {(int(one[1]), int(one[2])): found.copies / one[0] for one in names if one})
    return product


def wanted(product: Product, part: str | None = None, through: int | None = None) -> tuple[list[Array], int]:
    """Tell of which arrays copies are made: of a cube, and of what belongs to it.

    Parameters
    ----------
    product
        An open file.
    part
        Index or name; None: the one that its page shows first.
    through
        Number of the axis along which spectra are read, as FITS counts; None: the one that its page goes through.

    Returns
    -------
    arrays, axis
        Those of any one shape; the axis in the order of C.

    Raises
    ------
    NoCube
        There is none in it.
    """
    one = cube.cube_of(product, part, through, {})
    if one.through is None or one.depth < 2:
        raise NoCube(say("there is no cube in it"))
    return [array for array in cube.beside(product, one.array) if all(array.shape)], one.through


def make(
    around: Surroundings,
    who: Reader,
    collection: str,
    path: str,
    *,
    part: str | None = None,
    through: int | None = None,
    task: Task = Task(),  # noqa: B008  (it is frozen)
) -> Turned:
    """Make copies of a cube; each is there, whole, or not at all.

    Parameters
    ----------
    who
        By whose rights the file is taken.
    collection, path
        Of the file.
    part, through
        As of `wanted`.
    task
        What it is told to.

    Returns
    -------
    turned
        What there is now.

    Raises
    ------
    HvenError
        The file cannot be taken, or has no cube; there is no room; it was stopped.
    """
    found = filed.taken(around, who, collection, path)
    with open_product(found.path, found.name) as product:
        arrays, axis = wanted(product, part, through)
        copies = [(array, found.copies / f"{array.index}-{axis}.npy") for array in arrays]
        missing = [(array, place) for array, place in copies if not place.exists()]
        sizes = [rotated.size(array) for array, _ in missing]
        flat = [0 if array.flat else size for (array, _), size in zip(missing, sizes, strict=True)]
        if missing:
            ingest.room(around.site, path, sum(sizes) + max(flat), factor=1.0)
            found.copies.mkdir(parents=True, exist_ok=True)
            (found.copies / OF).write_bytes(os.fsencode(path))
        for at, (array, place) in enumerate(missing):
            before = sum(sizes[:at])
            rotated.write(
                array, axis, place,
                Task(lambda share, at=at, before=before: task.told((before + share * sizes[at]) / sum(sizes)), task.stopped),  # type: ignore[misc]
            )  # fmt: skip
    try:
        filed.taken(around, who, collection, path)  # of a file that was changed meanwhile, nobody knows what was read
    except HvenError:
        for _, place in missing:
            place.unlink(missing_ok=True)
        raise
    return Turned(parts=tuple(array.name or str(array.index) for array in arrays), bytes=sum(sizes))


def offered(found: filed.Original) -> int:
    """Return how many bytes copies of a file would take; 0: there are some, or it has no cube.

    Parameters
    ----------
    found
        A file, as its reader may take it.
    """
    try:
        with open_product(found.path, found.name) as product:
            arrays, axis = wanted(product)
            if all((found.copies / f"{array.index}-{axis}.npy").exists() for array in arrays):
                return 0
            return sum(map(rotated.size, arrays))
    except HvenError:
        return 0


def sweep(around: Surroundings, collection: str) -> None:
    """Remove copies of what is there no more, or another one now, and what dead processes left.

    Parameters
    ----------
    collection
        Its name.
    """
    home = around.site.settings.var / "cubes" / collection
    for place in [one for one in home.iterdir() if _STATE.fullmatch(one.name)] if home.is_dir() else ():
        if not _current(around, collection, place):
            shutil.rmtree(place, ignore_errors=True)
        for old in left(place):
            old.unlink(missing_ok=True)


def _current(around: Surroundings, collection: str, place: Path) -> bool:
    try:
        path = os.fsdecode((place / OF).read_bytes())
        return filed.original(around, OWNER, filed.asked(around, OWNER, collection, [path]), path).copies == place
    except (OSError, NotFound):
        return False
    except HvenError:  # it, or its server, is away for now
        return True


__all__ = ["NoCube", "Turned", "make", "offered", "opened", "sweep", "wanted"]

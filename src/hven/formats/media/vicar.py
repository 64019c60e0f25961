"""VICAR: images and cubes with labels of keywords (LBLSIZE ..), as of missions before PDS3 and beside it. Read by windows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import Array, Axis, Card, Medium, Product
from hven.formats.media._grids import Layout, mapped
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from hven.formats.media._distant import Place

LONGEST = 1 << 20  # bytes of a label
_WORD = re.compile(r"(\w+)\s*=\s*(?:'((?:[^']|'')*)'|(\([^)]*\))|(\S+))")
_TYPES = {"BYTE": "u1", "HALF": "i2", "WORD": "i2", "FULL": "i4", "LONG": "i4", "REAL": "f4", "DOUB": "f8"}


def open_vicar(file: Place) -> Product:
    """Open an image.

    Parameters
    ----------
    file
        It is read by ranges, wherever it lies.

    Returns
    -------
    product
        One array: bands, lines, samples.

    Raises
    ------
    SourceError
        The label is none, promises more than there is, or values of a type that is not read.
    """
    words = _label(file)

    def number(word: str, default: int = 0) -> int:
        found = words.get(word, str(default))
        if not re.fullmatch(r"-?\d{1,15}", found):
            raise SourceError(say("the label of {name} says {word}={value}", file.name, word, found[:40]))
        return int(found)

    kind = _TYPES.get(words.get("FORMAT", "BYTE").upper())
    if kind is None:
        raise SourceError(say("values of the type {kind} are not read", words["FORMAT"][:40]))
    real = kind[0] == "f"
    order = words.get("RFORMAT" if real else "INTFMT", "VAX" if real else "LOW").upper()
    vax = real and order == "VAX"
    if vax and kind == "f8":
        raise SourceError(say("values of the type {kind} are not read", "VAX DOUB"))
    dtype = np.dtype(("<" if order in {"LOW", "RIEEE", "VAX"} else ">") + kind)
    lines, samples, bands = number("NL"), number("NS"), number("NB", 1)
    before, header = number("NBB"), number("NLB")
    row = before + samples * dtype.itemsize
    record = number("RECSIZE", row)
    way = words.get("ORG", "BSQ").upper()
    steps: tuple[int, ...]
    if way == "BIP":
        steps, before = (dtype.itemsize, samples * record, record), number("NBB")
    else:
        steps = (record * lines, record, dtype.itemsize) if way == "BSQ" else (record, record * bands, dtype.itemsize)
    shape: tuple[int, ...] = (bands, lines, samples)
    names = ["BAND", "LINE", "SAMPLE"]
    if bands == 1:
        shape, steps, names = shape[1:], steps[1:], names[1:]
    offset = number("LBLSIZE") + header * record + before
    meant, read = mapped(file, Layout(offset, dtype, shape, steps, vax))
    cards = tuple(Card(name, value) for name, value in words.items())
    axes = tuple(Axis(name=name, size=size) for name, size in zip(names, shape, strict=True))
    return Product(medium="vicar", parts=(Array(index=0, name="IMAGE", axes=axes, dtype=meant, read=read),), cards=cards)  # fmt: skip


def _label(file: Place) -> dict[str, str]:
    with file.open("rb") as source:
        begin = re.match(rb"LBLSIZE=(\d{1,8}) ", source.read(20))
        size = int(begin[1]) if begin else 0
        if not 20 <= size <= LONGEST:
            raise SourceError(say("{name} has no label of VICAR", file.name))
        source.seek(0)
        text = source.read(size).decode("latin-1").rstrip("\0")
    found: dict[str, str] = {}
    for match in _WORD.finditer(text):
        # the first of a name is the system's; those of tasks that worked on it come behind
        found.setdefault(match[1].upper(), next(one for one in match.groups()[1:] if one is not None).strip())
    return found


MEDIUM = Medium(
    name="vicar",
    title="VICAR",
    media_types=("application/x-vicar",),
    endings=("vic", "vicar", "img"),
    begins=rb"LBLSIZE=\d+ ",
    open=open_vicar,
)

"""Read VICAR by windows: images and cubes with labels of keywords (LBLSIZE ..), of missions before and beside PDS3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import ArrayPart, Axis, HeaderCard, OpenProductFile, ProductFileFormat
from hven.formats.media.api import ArrayLayout
from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media.stored_arrays import ValueScale, create_window_reader

if TYPE_CHECKING:
    from hven.formats.media import Place

MAX_LABEL_BYTES = 1 << 20  # of a label
_KEYWORD_PATTERN = re.compile(r"(\w+)\s*=\s*(?:'((?:[^']|'')*)'|(\([^)]*\))|(\S+))")
_NUMPY_TYPES = {"BYTE": "u1", "HALF": "i2", "WORD": "i2", "FULL": "i4", "LONG": "i4", "REAL": "f4", "DOUB": "f8"}


def open_vicar(file: Place) -> OpenProductFile:
    """Open an image.

    Parameters
    ----------
    file
        The file, which is read by ranges, wherever it lies.

    Returns
    -------
    product
        Product with one array: bands, lines, samples.

    Raises
    ------
    SourceError
        The file has no label, or the label promises more than the file has or values of a type that is not read.
    """
    words = _read_label(file)

    def read_number(word: str, default: int = 0) -> int:
        label_value = words.get(word, str(default))
        if not re.fullmatch(r"-?\d{1,15}", label_value):
            raise SourceError(
                format_message(
                    "the label of {name} has an invalid value: {word}={value}", file.name, word, label_value[:40]
                )
            )
        return int(label_value)

    kind = _NUMPY_TYPES.get(words.get("FORMAT", "BYTE").upper())
    if kind is None:
        raise SourceError(format_message("Hven cannot read values of the type {kind}", words["FORMAT"][:40]))
    real = kind[0] == "f"
    if real:
        order = words.get("RFORMAT", "VAX").upper()
    else:
        order = words.get("INTFMT", "LOW").upper()
    is_vax = real and order == "VAX"
    if is_vax and kind == "f8":
        raise SourceError(format_message("Hven cannot read values of the type {kind}", "VAX DOUB"))
    byte_order = "<" if order in {"LOW", "RIEEE", "VAX"} else ">"
    dtype = np.dtype(byte_order + kind)
    lines = read_number("NL")
    samples = read_number("NS")
    bands = read_number("NB", 1)
    prefix_bytes = read_number("NBB")
    header = read_number("NLB")
    row = prefix_bytes + samples * dtype.itemsize
    record = read_number("RECSIZE", row)
    organization = words.get("ORG", "BSQ").upper()
    steps: tuple[int, ...]
    if organization == "BIP":
        steps = (dtype.itemsize, samples * record, record)
        prefix_bytes = read_number("NBB")
    elif organization == "BSQ":
        steps = (record * lines, record, dtype.itemsize)
    else:
        steps = (record, record * bands, dtype.itemsize)
    shape: tuple[int, ...] = (bands, lines, samples)
    names = ["BAND", "LINE", "SAMPLE"]
    if bands == 1:
        shape = shape[1:]
        steps = steps[1:]
        names = names[1:]
    offset = read_number("LBLSIZE") + header * record + prefix_bytes
    value_type, read = create_window_reader(file, ArrayLayout(offset, dtype, shape, steps), ValueScale(is_vax=is_vax))
    cards = tuple(HeaderCard(name, value) for name, value in words.items())
    axes = tuple(Axis(name=name, size=size) for name, size in zip(names, shape, strict=True))
    image = ArrayPart(index=0, name="IMAGE", axes=axes, dtype=value_type, read=read)
    return OpenProductFile(medium="vicar", parts=(image,), cards=cards)


def _read_label(file: Place) -> dict[str, str]:
    with file.open("rb") as source:
        begin = re.match(rb"LBLSIZE=(\d{1,8}) ", source.read(20))
        if begin:
            size = int(begin[1])
        else:
            size = 0
        if not 20 <= size <= MAX_LABEL_BYTES:
            raise SourceError(format_message("{name} has no VICAR label", file.name))
        source.seek(0)
        text = source.read(size).decode("latin-1").rstrip("\0")
    keywords: dict[str, str] = {}
    for match in _KEYWORD_PATTERN.finditer(text):
        # the first value is that of the system; those of tasks that processed the image follow
        value = next(text for text in match.groups()[1:] if text is not None)
        keywords.setdefault(match[1].upper(), value.strip())
    return keywords


MEDIUM = ProductFileFormat(
    name="vicar",
    title="VICAR",
    media_types=("application/x-vicar",),
    extensions=("vic", "vicar", "img"),
    signature_pattern=rb"LBLSIZE=\d+ ",
    open=open_vicar,
    has_units_as_comments=True,
    product_types={"vic": "#image"},
)

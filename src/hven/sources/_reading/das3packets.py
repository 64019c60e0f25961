"""Streams of das 3.0, binary or text: their datasets become what packet types of das2 2.2 are; lists whose length changes are told, not read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.model.errors import SourceError
from hven.sources._reading.das2packets import Plane, Segment, Stream, document, numbers, run, times, together
from hven.sources._reading.service import Broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any
    from xml.etree import ElementTree as ET

    from hven.sources._reading.das2packets import Array

WIDEST = 1 << 24  # bytes of a sample
_HEAD = re.compile(rb"([|/])([A-Z][a-z])\1(\d{0,4})\1(\d{1,9})\1")
_ENCODINGS = {"LEreal": "<f", "BEreal": ">f", "LEint": "<i", "BEint": ">i", "LEuint": "<u", "BEuint": ">u", "byte": "i", "ubyte": "u"}  # fmt: skip
_TYPES = {"f4": "little_endian_real4", "f8": "little_endian_real8"}
_PLAIN = {"center", "reference", "average", "mean", ""}  # uses of a variable that are its own value
_NUMBERS = {"real", "integer", "bool", ""}


class _Variable(NamedTuple):
    """What packets have of one variable: values of one kind."""

    plane: Plane
    cell: np.dtype[Any]
    time: bool
    numeric: bool


class _Dataset:
    """A kind of packet, and its samples as they stand in the stream."""

    def __init__(self, root: ET.Element) -> None:
        self.variables = tuple(_variables(root))
        self.cells = [(f"p{at}", one.cell, (one.plane.items,)) for at, one in enumerate(self.variables)]
        self.size = np.dtype(self.cells).itemsize
        self.runs: list[Array] = []
        if not any(one.time for one in self.variables):
            raise SourceError("a dataset of the stream has no time in its packets", remedy="tell its owners")
        if self.size > WIDEST:
            raise SourceError(f"a sample of the stream has {self.size:,} bytes", remedy="tell its owners")

    def segment(self) -> Segment:
        """Put its samples together: the time first."""
        rows = np.concatenate(self.runs)
        clock = next(at for at, one in enumerate(self.variables) if one.time)
        others = [(at, one.plane) for at, one in enumerate(self.variables) if one.numeric and at != clock]
        x = self.variables[clock].plane
        found = tuple(numbers(plane, rows[f"p{at}"]) for at, plane in others)
        return Segment((x, *(plane for _, plane in others)), times(x, rows[f"p{clock}"][:, 0]), found)


def parse(raw: bytes) -> Stream:
    """Read a whole stream.

    Raises
    ------
    Broken
        It ends in the middle of a packet.
    Failed
        A packet says that something is wrong.
    SourceError
        It is none of das 3.0, or has lists whose length changes.
    """
    stream = Stream({}, [])
    known: dict[int, _Dataset] = {}
    made: list[_Dataset] = []
    whole, at = np.frombuffer(raw, np.uint8), 0
    while at < len(raw):
        head = _HEAD.match(raw, at)
        if head is None:
            if raw[at : at + 1].isspace():
                at += 1
                continue
            if len(raw) - at < 20 and raw[at : at + 1] in b"|/":
                raise Broken("it breaks off in the head of a packet")
            message = f"at byte {at:,} of the stream stands {raw[at : at + 12]!r}, no packet: a length is wrong"
            raise SourceError(message, remedy="tell its owners")
        word, number, size = head[2], int(head[3] or 0), int(head[4])
        if head.end() + size > len(raw):
            raise Broken(f"it breaks off in a packet: {len(raw) - head.end()} of {size} bytes")
        if word != b"Pd":
            at = head.end() + size
            if word in {b"Sx", b"Hx", b"Ex"}:
                root = document(raw[head.end() : at])
                if word == b"Hx":
                    known[number] = _Dataset(root)
                    made.append(known[number])
                elif word == b"Sx":
                    stream.properties |= _said(root)
            continue
        if number not in known:
            message = f"the stream has samples of the packet {number}, which it does not describe"
            raise SourceError(message, remedy="tell its owners")
        one = known[number]
        if size != one.size:
            message = f"a sample of the stream has {size} bytes, and {one.size} by its description"
            raise SourceError(message, remedy="tell its owners")
        row = np.dtype([("mark", f"S{len(head[0])}"), *one.cells])
        rows = run(whole[at:], head[0], row.itemsize)
        one.runs.append(np.frombuffer(raw, row, rows, at))
        at += rows * row.itemsize
    stream.segments += together([one.segment() for one in made if one.runs])
    stream.left += dict.fromkeys(each.plane.name for one in made for each in one.variables if not (each.numeric or each.time))  # fmt: skip
    return stream


def _said(root: ET.Element) -> dict[str, str]:
    """Read what a part says of itself."""
    return {one.get("name", ""): (one.text or "").strip() for one in root.findall("properties/p")}


def _variables(root: ET.Element) -> Iterator[_Variable]:
    """List what packets of a dataset have, in their order."""
    if root.tag != "dataset":
        raise SourceError(f"a header of the stream is <{root.tag[:40]}>, not <dataset>", remedy="tell its owners")
    if any("*" in one for one in root.get("index", "*").split(";")[1:]):
        raise SourceError("the stream has lists whose length changes, which are not read", remedy="ask for das2: version: 2")  # fmt: skip
    above = _said(root)
    groups = [one for one in root if one.tag in {"coord", "data"}]
    try:
        fixed = dict(_fixed(groups))
        timed = False
        for group in groups:
            for one in group:
                packet = one.find("packet")
                if packet is None:
                    continue
                found = _variable(group, one, packet, fixed, above, first=not timed)
                timed = timed or found.time
                yield found
    except (ValueError, KeyError) as error:
        raise SourceError(f"a dataset of the stream is described wrongly: {error}", remedy="tell its owners") from None


def _fixed(groups: list[ET.Element]) -> Iterator[tuple[int, tuple[str, tuple[float, ...]]]]:
    """Find coordinates that are the same for each sample, along one further index: how many -> name and values."""
    for group in groups:
        for one in group if group.tag == "coord" else ():
            sizes = [(at, int(text)) for at, text in enumerate(one.get("index", "").split(";")) if text.isdigit()]
            if len(sizes) != 1:
                continue
            ((at, size),) = sizes
            values, sequence = one.find("values"), one.find("sequence")
            if values is not None:
                listed = tuple(float(text) for text in re.split(r"[;,\s]+", (values.text or "").strip()) if text)
                if len(listed) == size:
                    yield size, (group.get("name", ""), listed)
            elif sequence is not None and one.tag == "scalar":
                step = float(sequence.get("interval", "1").split(";")[at if ";" in sequence.get("interval", "") else 0])
                begin = float(sequence.get("minval", "0"))
                yield size, (group.get("name", ""), tuple(begin + step * number for number in range(size)))


def _variable(
    group: ET.Element,
    one: ET.Element,
    packet: ET.Element,
    fixed: Mapping[int, tuple[str, tuple[float, ...]]],
    above: Mapping[str, str],
    *,
    first: bool,
) -> _Variable:
    name, use, semantic = group.get("name") or group.get("physDim") or "", one.get("use", ""), one.get("semantic", "")
    coding = packet.get("encoding", "")
    if "*" in {packet.get("itemBytes"), packet.get("numItems")} or "^" in one.get("index", ""):
        raise SourceError(f"{name} of the stream is a list whose length changes, which is not read", remedy="ask for das2: version: 2")  # fmt: skip
    items, width = int(packet.attrib["numItems"]), int(packet.attrib["itemBytes"])
    if not 0 < items <= 1_000_000 or not 0 < width <= WIDEST:
        raise SourceError(f"{name} of the stream has {items} items of {width} bytes", remedy="tell its owners")
    time = first and group.get("physDim") == "time" and semantic == "datetime" and items == 1
    cell = np.dtype(f"{_ENCODINGS[coding]}{width}" if coding in _ENCODINGS else f"S{width}" if coding == "utf8" else f"V{width}")  # fmt: skip
    numeric = not time and semantic in _NUMBERS and cell.kind != "V"
    kind = f"time{width}" if time and cell.kind == "S" else _TYPES.get(cell.str[1:], "real8")
    axis, tags = fixed.get(items, ("", ())) if one.tag == "scalar" else ("", ())
    said = {**above, **_said(group), "yLabel": axis, **({"fill": packet.attrib["fill"]} if numeric and "fill" in packet.attrib else {})}  # fmt: skip
    full = name if use in _PLAIN else f"{name}.{use}"
    return _Variable(Plane(name=full, type=kind, units=one.get("units", ""), items=items, tags=tags, scan=items > 1, said=said), cell, time, numeric)  # fmt: skip


__all__ = ["parse"]

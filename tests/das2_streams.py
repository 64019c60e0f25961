"""Parse das2 streams strictly: all of version 2.2, and das 3.0 without ragged lists. This module does not use Hven."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

import numpy as np

TYPES = {"sun_real4": ">f4", "sun_real8": ">f8", "little_endian_real4": "<f4", "little_endian_real8": "<f8"}
EPOCHS = {  # units of times -> microseconds of one, and where they begin, from 1970
    "us2000": (1.0, 946_684_800_000_000), "t2000": (1e6, 946_684_800_000_000), "us1980": (1.0, 315_532_800_000_000),
    "t1970": (1e6, 0), "mj1958": (86.4e9, -378_691_200_000_000), "mjd": (86.4e9, -3_506_716_800_000_000),
}  # fmt: skip
_NAME = re.compile(r"(?:(\w+):)?([A-Za-z_][\w.]*)")


class StreamError(ValueError):
    """A stream breaks the rules of its format."""


@dataclass
class Plane:
    """A variable of a packet type."""

    kind: str
    name: str
    type: str
    units: str
    items: int = 1
    tags: tuple[float, ...] = ()
    tag_units: str = ""
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def fill(self) -> float | None:
        for name in ("fill", "yFill", "zFill"):
            if name in self.properties:
                return float(self.properties[name])
        return None

    @property
    def width(self) -> int:
        if self.type in TYPES:
            return np.dtype(TYPES[self.type]).itemsize
        found = re.fullmatch(r"(ascii|time)(\d+)", self.type)
        if not found or not int(found[2]):
            raise StreamError(f"{self.type!r} is not a type")
        return int(found[2])

    def read(self, raw: np.ndarray) -> np.ndarray:
        """Convert bytes of shape (rows, bytes) to numbers of shape (rows, items); times are microseconds since 1970."""
        cells = np.ascontiguousarray(raw).reshape(len(raw), self.items, self.width)
        if self.type in TYPES:
            found = cells.view(TYPES[self.type])[..., 0].astype(np.float64)
        else:
            texts = cells.view(f"S{self.width}")[..., 0]
            stripped = np.char.strip(texts)
            if (stripped == b"").any():
                raise StreamError(f"{self.name or self.kind}: a value of no characters")
            if self.type.startswith("time"):
                try:
                    return np.char.rstrip(stripped, b"Z").astype(str).astype("datetime64[us]").astype(np.int64)
                except ValueError as error:
                    raise StreamError(f"{stripped[0]!r} is not a time: {error}") from None
            try:
                found = stripped.astype(np.float64)
            except ValueError as error:
                raise StreamError(str(error)) from None
        if self.kind == "x" and self.units in EPOCHS:
            scale, origin = EPOCHS[self.units]
            return np.rint(found * scale).astype(np.int64) + origin
        if self.fill is not None:
            return np.where(np.isclose(found, self.fill, rtol=1e-6, atol=0), np.nan, found)
        return found


@dataclass
class Packet:
    """The samples of one packet type; the first plane is the time or another x."""

    planes: list[Plane]
    properties: dict[str, str] = field(default_factory=dict)
    _rows: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(plane.items * plane.width for plane in self.planes)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: bytes) -> None:
        self._rows.append(row)

    def values(self) -> dict[str, np.ndarray]:
        """Read all samples by name of the plane; the x, usually the time, has an empty name."""
        raw = np.frombuffer(b"".join(self._rows), np.uint8).reshape(len(self._rows), self.size)
        found, at = {}, 0
        for plane in self.planes:
            width = plane.items * plane.width
            found["" if plane.kind == "x" else plane.name] = plane.read(raw[:, at : at + width])
            at += width
        return found

    def plane(self, name: str) -> Plane:
        return next(plane for plane in self.planes if plane.name == name)


@dataclass
class Stream:
    """The contents of a stream."""

    version: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    packets: list[Packet] = field(default_factory=list)
    comments: list[dict[str, str]] = field(default_factory=list)
    exceptions: list[dict[str, str]] = field(default_factory=list)


def parse_stream(raw: bytes) -> Stream:
    """Parse a stream of either version."""
    if raw[:1] in {b"|", b"/"}:
        return _parse_stream_3(raw)
    if raw[:4] != b"[00]":
        raise StreamError(f"it begins with {raw[:4]!r}")
    stream = Stream()
    kind, body, at = _read_packet(raw, 0)
    root = _parse_xml(body)
    if root.tag == "exception":
        stream.exceptions.append(dict(root.attrib))
        if raw[at:].strip():
            raise StreamError("something stands behind an exception")
        return stream
    if root.tag != "stream":
        raise StreamError(f"the first packet is a <{root.tag}>")
    stream.version = root.get("version", "")
    stream.properties = _read_properties(root)
    packing = root.get("compression", "none")
    if packing == "deflate":
        unpacker = zlib.decompressobj()
        try:
            raw, at = unpacker.decompress(raw[at:]), 0
        except zlib.error as error:
            raise StreamError(f"it cannot be unpacked: {error}") from None
        if not unpacker.eof:
            raise StreamError("the packed part has no end")
    elif packing != "none":
        raise StreamError(f"compression {packing!r}")
    current: dict[bytes, Packet] = {}
    while at < len(raw):
        mark = raw[at : at + 1]
        if mark.isspace():
            at += 1
            continue
        if stream.exceptions:
            raise StreamError(f"something stands behind an exception, at {at}")
        if mark == b":":
            kind = raw[at + 1 : at + 3]
            if raw[at + 3 : at + 4] != b":" or kind not in current:
                raise StreamError(f"data of {raw[at : at + 4]!r}, which was not described, at {at}")
            packet = current[kind]
            row = raw[at + 4 : at + 4 + packet.size]
            if len(row) < packet.size:
                raise StreamError(f"the last sample breaks off, at {at}")
            packet.add(row)
            at += 4 + packet.size
        elif mark == b"[":
            kind, body, at = _read_packet(raw, at)
            root = _parse_xml(body)
            if kind == b"xx":
                if root.tag not in {"comment", "exception"}:
                    raise StreamError(f"[xx] is a <{root.tag}>")
                (stream.comments if root.tag == "comment" else stream.exceptions).append(dict(root.attrib))
            elif root.tag == "packet" and kind.isdigit() and kind != b"00":
                current[kind] = _read_packet_description(root, stream)
                stream.packets.append(current[kind])
            else:
                raise StreamError(f"{kind!r} is a <{root.tag}>, at {at}")
        else:
            raise StreamError(f"a packet begins with {mark!r}, at {at}")
    return stream


def _read_packet(raw: bytes, at: int) -> tuple[bytes, bytes, int]:
    head = raw[at : at + 10]
    length = head[4:10].strip()
    if len(head) < 10 or head[3:4] != b"]" or not length.isdigit():
        raise StreamError(f"{head!r} is not a head of a packet, at {at}")
    end = at + 10 + int(length)
    if end > len(raw):
        raise StreamError(f"a packet of {int(length)} bytes breaks off, at {at}")
    return head[1:3], raw[at + 10 : end], end


def _parse_xml(body: bytes) -> ET.Element:
    # types of properties look like undeclared namespaces
    text = re.sub(rb'(?<=[\s])([A-Za-z]+):([A-Za-z_][\w.]*)(?=\s*=\s*")', rb"\1..\2", body.strip())
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise StreamError(f"{body[:60]!r}: {error}") from None


def _read_properties(element: ET.Element) -> dict[str, str]:
    found = {}
    for one in element.findall("properties"):
        found |= {name.rpartition("..")[2]: value for name, value in one.attrib.items()}
    return found


def _read_packet_description(root: ET.Element, stream: Stream) -> Packet:
    packet = Packet([], _read_properties(root))
    for one in root:
        if one.tag == "properties":
            continue
        if one.tag not in {"x", "y", "z", "yscan"}:
            raise StreamError(f"a packet has a <{one.tag}>")
        plane = Plane(one.tag, one.get("name", ""), one.get("type", ""), one.get("units", one.get("zUnits", "")))
        plane.properties = {**stream.properties, **packet.properties, **_read_properties(one)}
        if one.tag == "yscan":
            plane.items = int(one.get("nitems", "0"))
            plane.tag_units = one.get("yUnits", "")
            if "yTags" in one.attrib:
                plane.tags = tuple(float(text) for text in one.attrib["yTags"].split(","))
            elif "yTagInterval" in one.attrib:
                step, first = float(one.attrib["yTagInterval"]), float(one.get("yTagMin", "0"))
                plane.tags = tuple(first + step * at for at in range(plane.items))
            if plane.items < 1 or len(plane.tags) != plane.items:
                raise StreamError(f"{plane.name}: {len(plane.tags)} tags of {plane.items} items")
        if not one.get("type") or plane.width < 1:
            raise StreamError(f"{plane.name}: no type")
        packet.planes.append(plane)
    if [plane.kind for plane in packet.planes].count("x") != 1 or packet.planes[0].kind != "x":
        raise StreamError("a packet has no x as its first")
    names = [plane.name for plane in packet.planes[1:]]
    if len(names) != len(set(names)):
        raise StreamError("two planes have one name")
    return packet


_PROPERTY_TYPES = {"String", "Datum", "boolean", "int", "double", "DatumRange"}
_ROLES = {"center", "offset", "average", "count", "min", "reference", "max", "width", "std_dev", "min_error", "max_error"}  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def find_das2c_faults(raw: bytes) -> list[str]:
    """List what das2C, the reference library, cannot read in a valid uncompressed stream.

    The rules are those of its source and its schemas.
    """
    faults: list[str] = []
    for body in re.findall(rb"<(?:packet|dataset|stream)[ >].*?</(?:packet|dataset|stream)>", raw, re.DOTALL):
        kinds = re.findall(rb"\s(\w+):[A-Za-z_]\w*=\"", body)
        faults += [f"property of the type {kind.decode()}" for kind in kinds if kind.decode() not in _PROPERTY_TYPES]
        faults += ["boolean:xMonotonic"] if b"boolean:xMonotonic" in body else []
        root = _parse_xml(body)
        if root.tag == "packet":
            scans = root.findall("yscan")
            axes = {(one.get("yTags"), one.get("yTagInterval"), one.get("yTagMin"), one.get("yUnits")) for one in scans}
            if len(axes) > 1:
                faults.append("yscans of one packet with different yTags")
            if scans and root.find("y") is not None:
                faults.append("y beside yscan, which counts as the origin of its tags")
            for one in root:
                width = re.fullmatch(r"ascii(\d+)", one.get("type", ""))
                if width and not 9 <= int(width[1]) <= 24:
                    faults.append(f"{one.get('name')}: {width[0]}")
                if not all(map(_IDENTIFIER.fullmatch, filter(None, one.get("name", "").split(".")))):
                    faults.append(f"{one.get('name')!r} is not an identifier")
        elif root.tag == "dataset":
            for one in root.findall("data"):
                roles = {each.get("use", "center") for each in one if each.tag in {"scalar", "vector"}}
                faults += [] if "center" in roles else [f"{one.get('name')} has no center, which das2py is asked for"]
            for one in [*root.findall("coord"), *root.findall("data")]:
                names = (one.get("physDim", ""), one.get("name", ""))
                faults += [f"{name!r} is not an identifier" for name in names if not _IDENTIFIER.fullmatch(name)]
                faults += [f"use={each.get('use')!r}" for each in one if each.get("use", "center") not in _ROLES]
                listed = (values for values in one.iter("values") if "valTerm" not in values.attrib)
                faults += ["values with semicolons" for values in listed if ";" in (values.text or "")]
    return faults


_PACKET_HEAD_3 = re.compile(rb"([|/])([SHPCEX][a-z])\1(\d*)\1(\d+)\1")


def _parse_stream_3(raw: bytes) -> Stream:
    stream, at = Stream(), 0
    current: dict[bytes, Packet] = {}
    while at < len(raw):
        if raw[at : at + 1].isspace():
            at += 1
            continue
        head = _PACKET_HEAD_3.match(raw, at)
        if head is None:
            raise StreamError(f"{raw[at : at + 12]!r} is not a head of a packet, at {at}")
        kind, number, body = head[2], head[3].lstrip(b"0"), raw[head.end() : head.end() + int(head[4])]
        if len(body) < int(head[4]):
            raise StreamError(f"a packet of {int(head[4])} bytes breaks off, at {at}")
        if stream.exceptions:
            raise StreamError("something stands behind an exception")
        if (kind == b"Sx") != (at == 0):
            raise StreamError(f"{kind!r}, at {at}")
        at = head.end() + len(body)
        if kind == b"Sx":
            root = _parse_xml(body)
            stream.version = root.get("version", "")
            if root.tag != "stream" or stream.version != "3.0" or root.get("type") != "das-basic-stream":
                raise StreamError("the head is not a stream of das 3.0")
            stream.properties = _read_properties_3(root)
        elif kind == b"Hx":
            current[number] = _read_dataset(_parse_xml(body))
            stream.packets.append(current[number])
        elif kind == b"Pd":
            if number not in current:
                raise StreamError(f"data of {number!r}, which was not described")
            if len(body) != current[number].size:
                raise StreamError(f"a packet of {len(body)} bytes, but of {current[number].size} as described")
            current[number].add(body)
        elif kind == b"Cx":
            stream.comments.append(dict(_parse_xml(body).attrib))
        elif kind == b"Ex":
            stream.exceptions.append(dict(_parse_xml(body).attrib))
        else:
            raise StreamError(f"packets of {kind!r} are not read")
    return stream


def _read_properties_3(root: ET.Element) -> dict[str, str]:
    return {one.get("name", ""): (one.text or "").strip() for one in root.findall("properties/p")}


def _read_dataset(root: ET.Element) -> Packet:
    """Read the description of a dataset with packets of one size; refuse anything else."""
    if root.tag != "dataset":
        raise StreamError(f"a header is a <{root.tag}>")
    rank, index = int(root.get("rank", "0")), root.get("index", "").split(";")
    if rank != len(index) or any("*" in one or "^" in one for one in index[1:]):
        raise StreamError("ragged lists are not read")
    packet = Packet([], _read_properties_3(root))
    tags: dict[str, tuple[tuple[float, ...], str]] = {}
    for group in root:
        if group.tag == "properties":
            continue
        if group.tag not in {"coord", "data"}:
            raise StreamError(f"a dataset has a <{group.tag}>")
        for one in group:
            if one.tag == "properties":
                continue
            shape = one.get("index", "").split(";")
            if len(shape) != rank or any("^" in each for each in shape):
                raise StreamError("ragged lists are not read")
            name = group.get("name", group.get("physDim", ""))
            use = one.get("use", "center")
            inside = one.find("packet")
            values = one.find("values")
            if inside is None:
                if values is not None and values.text:
                    tags[name] = (
                        tuple(float(text) for text in re.split(r"[;,\s]+", values.text.strip()) if text),
                        one.get("units", ""),
                    )
                continue
            if "valTerm" in inside.attrib or inside.get("itemBytes") == "*" or inside.get("numItems") == "*":
                raise StreamError("values that end with a mark are not read")
            count, width, coding = (
                int(inside.attrib["numItems"]),
                int(inside.attrib["itemBytes"]),
                inside.get("encoding", ""),
            )
            if coding == "utf8":
                kind = f"{'time' if one.get('semantic') == 'datetime' else 'ascii'}{width}"
            elif coding in {"LEreal", "BEreal"}:
                kind = f"{'little_endian' if coding == 'LEreal' else 'sun'}_real{width}"
            else:
                kind = f"ascii{width}"  # blobs, integers: their size alone counts here
            time = group.get("physDim") == "time" and not packet.planes
            full = name if use in {"center", "reference", "average"} else f"{name}.{use}"
            plane = Plane("x" if time else "y", full, kind, one.get("units", ""), count)
            plane.properties = {key: inside.attrib[key] for key in ("fill",) if key in inside.attrib}
            expected = int(np.prod([int(each) for each in shape[1:] if each.isdigit()] or [1])) * int(
                one.get("components", "1")
            )
            if count != expected:
                raise StreamError(f"{full}: {count} items in a packet, but {expected} by its index")
            packet.planes.append(plane)
    if not packet.planes:
        raise StreamError("a dataset has no variables in its packets")
    for plane in packet.planes:
        for values, unit in tags.values():
            if len(values) == plane.items:
                plane.tags, plane.tag_units = values, unit
    return packet

"""VOTable's metadata elements into ours: FIELD -> Column, GROUP -> Group, COOSYS and TIMESYS -> FrameRef, INFO, PARAM, LINK."""

from __future__ import annotations

import re
from dataclasses import fields
from math import prod
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.formats import Head, Info
from hven.formats.votable.foreign_types import FOREIGN_INTEGERS
from hven.formats.votable.head import field_ids
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.table import HIDDEN, Column, Constant, FrameRef, Group, distinct
from hven.model.types import BY_VOTABLE, Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ARRAYSIZE = re.compile(r"\d+(?:x\d+)*(?:x?\d*\*)?|\*")
_MOST = 1 << 24  # values in one cell
_PRECISION = re.compile(r"([EF]?)([1-9][0-9]?)", re.IGNORECASE)
_TEMPLATE = re.compile(r"\$\{([^}]*)\}|([{}])")


def tag(element: Any) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def children(element: Any, *names: str) -> list[Any]:
    """List the children with one of these names, whatever their namespace."""
    return [child for child in element if isinstance(child.tag, str) and tag(child) in names]


def _text(element: Any, name: str) -> str | None:
    for child in children(element, name):
        words = " ".join("".join(child.itertext()).split())
        return words or None
    return None


def _get(element: Any, name: str) -> str | None:
    value = element.get(name)
    return value.strip() or None if value is not None else None


def type_of(element: Any) -> Type:
    """Read datatype, arraysize and xtype, with the usual mistakes forgiven: case, SQL words, a missing datatype.

    Raises
    ------
    SourceError
        The datatype is none.
    """
    said = (_get(element, "datatype") or "char").strip()
    size = re.sub(r"\s+", "", _get(element, "arraysize") or "") or None
    if size is not None and not _ARRAYSIZE.fullmatch(size):
        message = f"{_who(element)} has arraysize={size!r}, which VOTable does not know"
        raise SourceError(message)
    count = _count(size)
    if count is not None and not 0 < count <= _MOST:
        if count or tag(element) != "PARAM":
            message = f"{_who(element)} has arraysize={size!r}: cells of {count} values are not read"
            raise SourceError(message)
        size = "*"
    by_case = {name.lower(): name for name in BY_VOTABLE}
    datatype = by_case.get("unicodechar" if said.lower() == "unicodestring" else said.lower())
    if datatype is None and said.lower() in FOREIGN_INTEGERS:
        datatype = FOREIGN_INTEGERS[said.lower()].datatype
    if datatype is None:
        try:
            plain = parse_type(said.lower())
        except ValueError:
            message = f"{_who(element)} has datatype={said!r}, which VOTable does not know"
            raise SourceError(message, remedy=f"known: {', '.join(BY_VOTABLE)}") from None
        datatype, size = plain.datatype, size or plain.arraysize
    if datatype in {"char", "unicodeChar"} and (element.get("datatype") is None or said.lower().endswith("string")):
        size = size or "*"
    if size == "1":
        size = None  # one number or character, as everybody means by it (VOTable 1.3 erratum 3)
    xtype = _get(element, "xtype")
    found = Type(datatype, size, xtype)
    if found.special is not None and not _carries(found):
        found = Type(datatype, size)  # an xtype on a carrier that cannot hold it says nothing
    return found


def _count(size: str | None) -> int | None:
    """Multiply the fixed dimensions (of a variable one, its bound counts too); None for a scalar and for ``*``."""
    lengths = [int(length) for length in re.findall(r"\d+", size or "")]
    return prod(lengths) if lengths else None


def _carries(kind: Type) -> bool:
    special = kind.special
    if special is None:
        return True
    if special.votable == "char":
        return kind.datatype in {"char", "unicodeChar"} and "x" not in (kind.arraysize or "")
    if kind.datatype not in {"float", "double"}:
        return False
    if special.arraysize == "*":
        return kind.arraysize is not None
    return kind.arraysize == special.arraysize


def _who(element: Any) -> str:
    name = element.get("name") or element.get("ID") or ""
    return f"{tag(element)} {name!r} (line {element.sourceline})"


def column(element: Any, number: int, frames: Iterable[str], enums: dict[str, Mapping[str, str]]) -> Column:
    """Read a FIELD or PARAM; its OPTIONs go to `enums` under the column's name.

    Raises
    ------
    SourceError
        Its type cannot be read.
    """
    name = element.get("name") or element.get("ID") or f"col{number}"
    kind = type_of(element)
    null = minimum = maximum = enum = None
    for values in children(element, "VALUES"):
        null = values.get("null") or null
        for child in children(values, "MIN", "MAX"):
            bound = _bound(child.get("value"), kind)
            minimum, maximum = (bound, maximum) if tag(child) == "MIN" else (minimum, bound)
        if options := [
            (one.get("value", ""), one.get("name") or one.get("value", "")) for one in children(values, "OPTION")
        ]:
            enum = name
            enums[name] = _options(options, kind)
    links = [link.get("href") for link in children(element, "LINK") if link.get("href")]
    ref = _get(element, "ref")
    return Column(
        name=name,
        type=kind,
        unit=_get(element, "unit"),
        ucd=_get(element, "ucd"),
        utype=_get(element, "utype"),
        description=_text(element, "DESCRIPTION"),
        null=null,
        minimum=minimum,
        maximum=maximum,
        enum=enum,
        frame=ref if ref in set(frames) else None,
        display=_display(element, kind),
        link=_TEMPLATE.sub(
            lambda found: f"{{{found.group(1)}}}" if found.group(2) is None else found.group(2) * 2, links[0]
        )
        if links
        else None,
    )


def _display(element: Any, kind: Type) -> str | None:
    """Read precision and width (VOTable 1.4 section 4.1): ``F3``, ``3`` -> ``.3f``; ``E3``, three significant figures, -> ``.2e``."""
    if tag(element) == "FIELD" and _get(element, "type") == HIDDEN:
        return HIDDEN
    if kind.datatype not in {"float", "double"}:
        return None
    precision = _PRECISION.fullmatch((element.get("precision") or "").strip())
    if precision is None:
        return None
    width = (element.get("width") or "").strip()
    width = width if width.isdecimal() and 0 < len(width) <= 3 and int(width) else ""
    digits = int(precision.group(2))
    return f"{width}.{digits - 1}e" if precision.group(1).upper() == "E" else f"{width}.{digits}f"


def _options(options: list[tuple[str, str]], kind: Type) -> dict[str, str]:
    """Return code -> label; some write them the other way round, which numbers tell."""
    if (
        kind.is_numeric
        and all(_bound(label, kind) is not None for _, label in options)
        and any(_bound(code, kind) is None for code, _ in options)
    ):
        return {label: code for code, label in options}
    return dict(options)


def _bound(text: str | None, kind: Type) -> float | None:
    if text is None or not kind.is_numeric:
        return None
    try:
        return literal.number(text)
    except ValueError:
        return None


def info(element: Any) -> Info:
    """Read an INFO."""
    content = "".join(element.itertext()).strip() or None
    return Info(
        name=element.get("name") or element.get("ID") or "",
        value=element.get("value") or "",
        content=content,
        id=element.get("ID"),
        ucd=element.get("ucd"),
        utype=element.get("utype"),
    )


def frame(element: Any) -> FrameRef:
    """Read a COOSYS or TIMESYS."""
    kind = tag(element).lower()
    return FrameRef(
        id=element.get("ID") or "",
        kind=kind,
        system=_get(element, "system"),
        epoch=_get(element, "epoch"),
        equinox=_get(element, "equinox"),
        refposition=_get(element, "refposition"),
        timescale=_get(element, "timescale"),
        timeorigin=_get(element, "timeorigin"),
    )


def param(element: Any, frames: Iterable[str], enums: dict[str, Mapping[str, str]]) -> tuple[Column, object]:
    """Read a PARAM and its value; a value that is none of its type stays text."""
    said = element.get("value")
    read = column(element, 1, frames, enums)
    described = Constant(**{item.name: getattr(read, item.name) for item in fields(read)}, value=said)
    if said is None:
        return described, None
    try:
        return described, literal.values(pa.array([said]), described.type, described.null)[0].as_py()
    except (literal.BadLiteral, pa.ArrowException):
        return described, said


def group(element: Any, names: Mapping[str, str], number: int) -> Group | None:
    """Read a GROUP of FIELDrefs and PARAMrefs, with what is in its own GROUPs; None if it refers to nothing."""
    roles: dict[str, str] = {}
    for ref in _within_groups(element, "FIELDref", "PARAMref"):
        name = names.get(ref.get("ref") or "")
        if name is None:
            continue
        role = (ref.get("utype") or ref.get("ucd") or name).removeprefix("hven:")
        while role in roles:
            role += "_"
        roles[role] = name
    if not roles:
        return None
    return Group(
        name=element.get("name") or element.get("ID") or f"group{number}",
        roles=roles,
        description=_text(element, "DESCRIPTION"),
        utype=_get(element, "utype"),
        ucd=_get(element, "ucd"),
    )


def head(table: Any, above: list[Any]) -> Head:
    """Describe a TABLE whose metadata has been read.

    Parameters
    ----------
    above
        The elements it stands in, outermost first: their INFOs, PARAMs and frames belong to it too.

    Raises
    ------
    SourceError
        A FIELD's type cannot be read.
    """
    around = [*above, table]
    frames = [frame(item) for place in around for item in _within_groups(place, "COOSYS", "TIMESYS")]
    known = [item.id for item in frames if item.id]
    enums: dict[str, Mapping[str, str]] = {}
    elements = children(table, "FIELD")
    columns = distinct([column(item, number, known, enums) for number, item in enumerate(elements, 1)])
    made = field_ids(tuple(item.name for item in columns))
    names = {item.get("ID") or ident: one.name for item, ident, one in zip(elements, made, columns, strict=True)}
    beside = [item for place in around for item in _within_groups(place, "PARAM")]
    params = [param(item, known, enums) for item in beside]
    constants = distinct([one for one, _ in params], {one.name.lower() for one in columns})
    names |= {item.get("ID"): one.name for item, one in zip(beside, constants, strict=True) if item.get("ID")}
    found = [group(item, names, number) for number, item in enumerate(children(table, "GROUP"), 1)]
    groups = distinct([item for item in found if item is not None])
    return Head(
        columns=columns,
        name=table.get("name"),
        id=table.get("ID"),
        description=next((words for place in reversed(around) if (words := _text(place, "DESCRIPTION"))), None),
        infos=[info(item) for place in around for item in children(place, "INFO")],
        frames=[item for item in frames if item.id],
        groups=groups,
        params=[(one, value) for one, (_, value) in zip(constants, params, strict=True)],
        links=[link.get("href") for link in children(table, "LINK") if link.get("href")],
        enums=enums,
    )


def _within_groups(place: Any, *names: str) -> list[Any]:
    found = children(place, *names)
    for inner in children(place, "GROUP", "DEFINITIONS"):
        found += _within_groups(inner, *names)
    return found

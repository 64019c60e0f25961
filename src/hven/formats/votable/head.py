"""The VOTable document around the rows: FIELDs, GROUPs, COOSYS, INFOs, descriptors (VOTable 1.4 sections 3 to 4)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.formats.votable.xml import attribute, escape, legal, quoted
from hven.model import Cache, cached
from hven.model.table import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.formats import Head, Info
    from hven.model.table import Column, FrameRef, Group
    from hven.model.types import Type

NAMESPACES = "http://www.ivoa.net/xml/VOTable/v"
NAMESPACE = f"{NAMESPACES}1.3"  # of all versions since 1.3
ODD = ("1.1", "1.2", "1.3", "1.4", "1.5")  # what clients are known to want instead
VERSION, NEWER = "1.4", "1.5"  # unless asked otherwise; what has words for every frame
OPEN = f'<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="{VERSION}" xmlns="{NAMESPACE}">\n'
SHORT = 300  # characters of an INFO that is kept
KEPT = 2 * 1024**2  # bytes of heads
LIMITS = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}

# the refframe vocabulary's words of VOTable 1.5 in those of 1.4, which has a closed list
_SYSTEMS = {
    "FK4": "eq_FK4",
    "FK5": "eq_FK5",
    "ECLIPTIC": "ecl_FK5",
    "GALACTIC": "galactic",
    "GALACTIC_II": "galactic",
    "SUPER_GALACTIC": "supergalactic",
}
# how VOTables say a frame that 1.4 has no COOSYS for (IVOA Note "Referencing STC in VOTable", 2010)
_STC = "stc:AstroCoordSystem.SpaceFrame."
# Aladin Desktop takes a system that it does not know for the name of a body, and draws nothing over a HiPS of another name; this it reads after the system
_BODY, _NAMED = "BODY", "stc:AstroCoords.coord_system_id"
UNKNOWN = "UNKNOWN"
_LISTED = {*_SYSTEMS.values(), "ICRS", "ecl_FK4", "xy", "barycentric", "geo_app"}

_NOT_NAME = re.compile(r"[^A-Za-z0-9_.\-]")
_DISPLAY = re.compile(
    r"%?(?P<width>\d{0,3})\.(?P<digits>\d{1,2})(?P<python>[feFE])|(?P<fits>[FED])(?P<wide>\d{1,3})\.(?P<decimals>\d{1,2})"
)
_TEMPLATE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@cached(4096)
def field_ids(names: tuple[str, ...]) -> tuple[str, ...]:
    """List XML IDs of the FIELDs of columns with these names, in order: what a descriptor's PARAM may refer to.

    A name that is an XML name is its own ID; others are made so; equal ones are told apart by ``_2``, ``_3``.
    """
    used: set[str] = set()
    ids = []
    for name in names:
        ident = _NOT_NAME.sub("_", name) or "_"
        if not (ident[0].isalpha() or ident[0] == "_"):
            ident = f"_{ident}"
        unique, n = ident, 1
        while unique in used:
            n += 1
            unique = f"{ident}_{n}"
        used.add(unique)
        ids.append(unique)
    return tuple(ids)


@lru_cache(maxsize=4096)
def magic(column: Column, serialization: str) -> str | None:
    """Choose the whole number that stands for null in this column (VALUES/@null), or None if none is needed or possible.

    Scalars need it in BINARY only; elements of arrays everywhere (VOTable 1.4 section 2.3).
    """
    kind = column.type
    limits = LIMITS.get(kind.datatype)
    if limits is None or kind.special is not None:
        return None
    if kind.arraysize is None and (serialization != "BINARY" or column.required):
        return None
    lowest, highest = limits
    try:
        if column.null is not None and lowest <= int(column.null) <= highest:
            return str(int(column.null))
    except ValueError:
        pass  # the carrier's null was a word
    if column.minimum is not None and column.minimum > lowest:
        return str(lowest)
    if column.maximum is not None and column.maximum < highest:
        return str(highest)
    return str(lowest) if lowest else None


@lru_cache(maxsize=4096)
def field(
    column: Column, ident: str, serialization: str, options: tuple[tuple[str, str], ...] = (), frame: str | None = None
) -> str:
    """Write one FIELD."""
    inner = _values(column, magic(column, serialization), options)
    if column.link:
        inner += f"<LINK href={quoted(_link(column.link))}/>"
    return _described("FIELD", _about(column, ident, frame), column.description or column.label, inner)


def _about(column: Column, ident: str | None, frame: str | None) -> str:
    kind = column.type
    return "".join(
        (
            f" name={quoted(column.name)}",
            attribute("ID", ident),
            attribute("datatype", kind.datatype),
            attribute("arraysize", kind.arraysize),
            attribute("unit", column.unit),
            attribute("ucd", column.ucd),
            attribute("utype", column.utype),
            attribute("xtype", kind.xtype),
            attribute("ref", frame),
            ' type="hidden"' if column.display == HIDDEN else "",
            _shown(column),
        )
    )


def _shown(column: Column) -> str:
    """Write how a number is displayed - ``.3f``, ``8.3f``, ``%.3f``, FITS's ``F8.3``, ``.2e`` - as width and precision."""
    found = _DISPLAY.fullmatch(column.display or "")
    if found is None or column.type.datatype not in {"float", "double"}:
        return ""
    word = (found["python"] or found["fits"]).upper()
    digits = int(found["digits"] or found["decimals"])
    width = int(found["width"] or found["wide"] or 0)
    precision = f"F{digits}" if word == "F" else f"E{digits + 1}"
    # the schema knows no F0
    return (f' width="{width}"' if width else "") + (f' precision="{precision}"' if digits or word != "F" else "")


def _described(tag: str, attributes: str, description: str | None, inner: str) -> str:
    told = f"<DESCRIPTION>{escape(description)}</DESCRIPTION>" if description else ""
    return f"<{tag}{attributes}>{told}{inner}</{tag}>\n" if told or inner else f"<{tag}{attributes}/>\n"


def _values(column: Column, null: str | None, options: tuple[tuple[str, str], ...]) -> str:
    inner = ""
    if column.type.is_numeric:
        show = _integer if column.type.is_integer else _number
        if column.minimum is not None:
            inner += f'<MIN value="{show(column.minimum)}"/>'
        if column.maximum is not None:
            inner += f'<MAX value="{show(column.maximum)}"/>'
    inner += "".join(f"<OPTION{attribute('name', label)} value={quoted(code)}/>" for code, label in options)
    if not inner:
        return f"<VALUES{attribute('null', null)}/>" if null is not None else ""
    return f"<VALUES{attribute('null', null)}>{inner}</VALUES>"


def _integer(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else _number(value)


def _number(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def _link(template: str) -> str:
    """Convert our ``{column}`` to VOTable's ``${column}``."""
    return _TEMPLATE.sub(
        lambda found: f"${{{found.group(1)}}}" if found.group(1) is not None else found.group(0)[0], template
    )


def info(item: Info) -> str:
    """Write an INFO; short ones, which stand in answer after answer, are kept."""
    return _short(item) if len(item.value) + len(item.content or "") < SHORT else _info(item)


@lru_cache(maxsize=4096)
def _short(item: Info) -> str:
    return _info(item)


def _info(item: Info) -> str:
    attributes = f" name={quoted(item.name)} value={quoted(item.value)}"
    attributes += attribute("ID", item.id) + attribute("ucd", item.ucd) + attribute("utype", item.utype)
    return f"<INFO{attributes}>{escape(item.content)}</INFO>\n" if item.content else f"<INFO{attributes}/>\n"


def status(value: str, message: str | None = None) -> str:
    """Write a QUERY_STATUS (DALI 1.1 section 4.4)."""
    return (
        f'<INFO name="QUERY_STATUS" value="{value}">{escape(message)}</INFO>\n'
        if message
        else f'<INFO name="QUERY_STATUS" value="{value}"/>\n'
    )


def _frame(item: FrameRef, ident: str, version: str) -> str:
    if item.kind == "timesys":
        # the schema wants both, and both vocabularies have a word for what nobody said
        inner = attribute("timescale", item.timescale or UNKNOWN) + attribute(
            "refposition", item.refposition or UNKNOWN
        )
        inner = attribute("timeorigin", item.timeorigin) + inner
        return f"<TIMESYS{attribute('ID', ident)}{inner}/>\n"
    inner = attribute("equinox", item.equinox) + attribute("epoch", item.epoch)
    if version == NEWER:
        inner += attribute("refposition", item.refposition)
    return f"<COOSYS{attribute('ID', ident)}{attribute('system', _system(item, version))}{inner}/>\n"


def _system(item: FrameRef, version: str) -> str | None:
    return item.system if version == NEWER else _SYSTEMS.get(item.system or "", item.system)


def _spoken(item: FrameRef, version: str) -> bool:
    """Return whether a version has an element for a frame: the systems of a COOSYS are a closed list in 1.4."""
    return item.kind == "timesys" or version == NEWER or _system(item, version) in {*_LISTED, None}


def needed(frames: Sequence[FrameRef]) -> str:
    """Return the version that can say all frames whole: 1.4 has no refposition of a COOSYS."""
    whole = all(_spoken(one, VERSION) and (one.kind == "timesys" or one.refposition is None) for one in frames)
    return VERSION if whole else NEWER


def _located(item: FrameRef, idents: Sequence[str]) -> str:
    """Write a frame of the sky or of a body as a GROUP with the columns that are in it."""
    said = {"CoordRefFrame": item.system, "ReferencePosition": item.refposition, "CoordEquinox": item.equinox}
    inner = "".join(
        f'<PARAM name="{name}" datatype="char" arraysize="*"{attribute("utype", _STC + name)} value={quoted(value)}/>'
        for name, value in said.items()
        if value is not None
    )
    inner += _named(item) + "".join(f"<FIELDref ref={quoted(ident)}/>" for ident in idents)
    return f'<GROUP utype="stc:CatalogEntryLocation">{inner}</GROUP>\n'


def _named(item: FrameRef) -> str:
    """Name the body of a frame as HiPS of bodies name theirs (hips_frame): ``mars``."""
    if item.system != _BODY or not item.refposition:
        return ""
    return f'<PARAM name="coord_system_id" datatype="char" arraysize="*" utype="{_NAMED}" value={quoted(item.refposition.lower())}/>'


def _group(item: Group, ids: Mapping[str, str], params: Collection[str]) -> str:
    members = [(role if role != name else "", ids[name], name) for role, name in item.roles.items() if name in ids]
    if not members:
        return ""
    attributes = attribute("name", item.name) + attribute("ucd", item.ucd) + attribute("utype", item.utype)
    refs = "".join(
        f"<{'PARAM' if name in params else 'FIELD'}ref ref={quoted(ident)}{_role(role)}/>"
        for role, ident, name in members
    )
    return _described("GROUP", attributes, item.description, refs)


def _role(role: str) -> str:
    """Write a role as a utype: a data model path as it is, our own words with a prefix."""
    return attribute("utype", role if ":" in role else f"hven:{role}") if role else ""


def param(column: Column, value: object, ident: str | None = None, options: tuple[tuple[str, str], ...] = ()) -> str:
    """Write a PARAM."""
    attributes = _about(column, ident, None) + f" value={quoted(_literal(column.type, value))}"
    return _described("PARAM", attributes, column.description, _values(column, None, options))


def _literal(kind: Type, value: object) -> str:
    if value is None:
        return "NaN" if kind.datatype in {"float", "double"} and kind.arraysize is None else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(_literal(kind, item) for item in value)
    return str(value)


def before(
    head: Head, columns: Sequence[Column], serialization: str, version: str = VERSION, namespace: str | None = None
) -> str:
    """Write everything up to the first row's container (DATA not included); `namespace`: the version whose namespace a client wants."""
    systems, table = _around(head, columns, serialization, version)
    first = OPEN if version == VERSION else OPEN.replace(f'VOTABLE version="{VERSION}"', f'VOTABLE version="{version}"')
    first = first if namespace is None else first.replace(NAMESPACE, NAMESPACES + namespace)
    return "".join((
        first, '<RESOURCE type="results">\n', status("OK") if head.status else "", *(info(item) for item in (*head.infos, *head.asked)), systems, table,
    ))  # fmt: skip


class Written(NamedTuple):
    """What was written about some columns; it keeps alive what it was written of, so that nothing else has its identity."""

    of: tuple[object, ...]
    systems: str
    table: str


_written_before: Cache[Written] = Cache(KEPT, KEPT // 4)


def _around(head: Head, columns: Sequence[Column], serialization: str, version: str) -> tuple[str, str]:
    """Write the frames, and the table up to its rows: once for the columns of a plan, which is asked again and again."""
    of = (columns, head.frames, head.groups, head.params, head.enums)
    # what is fitted to its rows is another in each answer, and lists may change
    lasting = (
        columns is head.columns
        and isinstance(head.frames, tuple)
        and isinstance(head.groups, tuple)
        and isinstance(head.params, tuple)
    )
    key = (*map(id, of), serialization, version, head.name, head.id, head.description, tuple(head.links))
    found = _written_before.find(key) if lasting else None
    if found is None:
        found = Written(of, *_written(head, columns, serialization, version))
        if lasting:
            _written_before.keep(key, found, len(found.systems) + len(found.table))
    return found.systems, found.table


def _written(head: Head, columns: Sequence[Column], serialization: str, version: str) -> tuple[str, str]:
    names = tuple(column.name for column in columns)
    # columns have the first choice of an ID, so that `field_ids` says the same to everybody
    mine = [head.id] if head.id else []
    ids = field_ids((*names, *(item.id for item in head.frames), *mine, *(column.name for column, _ in head.params)))
    frames = {item.id: ident for item, ident in zip(head.frames, ids[len(names) :], strict=False)}
    spoken = {item.id: frames[item.id] for item in head.frames if _spoken(item, version)}
    systems = "".join(_frame(item, spoken[item.id], version) for item in head.frames if item.id in spoken)
    if version == NEWER and len(bodies := [one for one in map(_named, head.frames) if one]) == 1 and _BODY not in ids:
        systems += f'<GROUP ID="{_BODY}" utype="stc:AstroCoordSystem">{bodies[0]}</GROUP>\n'  # the word of the COOSYS leads here
    enums = head.enums
    by_name = dict(zip(names, ids, strict=False))
    params: set[str] = set()
    grouped = {name for item in head.groups for name in item.roles.values()}
    for (column, value), ident in zip(head.params, ids[len(ids) - len(head.params) :], strict=True):
        if column.name in grouped and column.name not in by_name:
            params.add(column.name)
            by_name[column.name] = ident
        systems += param(column, value, ident if column.name in params else None, _options(column, enums))
    if not columns:  # a TABLE without FIELDs is not valid
        return systems, ""
    parts = [
        f"<TABLE{attribute('ID', ids[len(names) + len(head.frames)] if mine else None)}{attribute('name', head.name)}>\n"
    ]
    if head.description:
        parts.append(f"<DESCRIPTION>{escape(head.description)}</DESCRIPTION>\n")
    for column, ident in zip(columns, ids, strict=False):
        parts.append(
            field(
                column,
                ident,
                serialization,
                _options(column, enums),
                spoken.get(column.frame) if column.frame else None,
            )
        )
    parts += [_group(item, by_name, params) for item in head.groups]
    for item in head.frames:
        if version != needed([item]) == NEWER:
            parts.append(_located(item, [by_name[column.name] for column in columns if column.frame == item.id]))
    parts += [f"<LINK href={quoted(link)}/>\n" for link in head.links]
    return systems, "".join(parts)


def _options(column: Column, enums: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(enums[column.enum].items()) if column.enum is not None and column.enum in enums else ()


def after(head: Head, trailing: str) -> str:
    """Write everything after DATA: the trailing QUERY_STATUS and the descriptors."""
    return f"{'</TABLE>' if head.columns else ''}\n{trailing}</RESOURCE>\n{''.join(head.descriptors)}</VOTABLE>\n"


def error(message: str) -> str:
    """Write a whole document that says that nothing came of it (DALI 1.1 section 4.4.3)."""
    return f'{OPEN}<RESOURCE type="results">\n{status("ERROR", legal(message) or "unknown error")}</RESOURCE>\n</VOTABLE>\n'

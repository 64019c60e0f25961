"""Write the VOTable document around the rows: FIELDs, GROUPs, COOSYS, INFOs (VOTable 1.4 sections 3 to 4)."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hven.formats._xml_text import escape_xml, quote_attribute, replace_illegal_characters, write_xml_attribute
from hven.model import LruCache, cache_results
from hven.model.table import HIDDEN_DISPLAY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.formats import InfoElement, TableMetadata
    from hven.model.table import Column, ColumnGroup, ReferenceFrame
    from hven.model.types import ColumnType

NAMESPACE_PREFIX = "http://www.ivoa.net/xml/VOTable/v"
NAMESPACE = f"{NAMESPACE_PREFIX}1.3"  # of all versions since 1.3
NAMESPACE_VERSIONS = ("1.1", "1.2", "1.3", "1.4", "1.5")  # versions whose namespace a client may require instead
DEFAULT_VERSION, LATEST_VERSION = "1.4", "1.5"  # the usual version; the one that can express every frame
DOCUMENT_OPENING = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="{DEFAULT_VERSION}" xmlns="{NAMESPACE}">\n'
)
MAX_CACHED_INFO_CHARACTERS = 300  # characters of an INFO that is cached
MAX_CACHE_BYTES = 2 * 1024**2  # bytes of cached document starts
INTEGER_LIMITS = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}

# terms of the refframe vocabulary, which VOTable 1.5 uses -> the closed list of 1.4
_VERSION_1_4_SYSTEMS = {
    "FK4": "eq_FK4",
    "FK5": "eq_FK5",
    "ECLIPTIC": "ecl_FK5",
    "GALACTIC": "galactic",
    "GALACTIC_II": "galactic",
    "SUPER_GALACTIC": "supergalactic",
}
# how VOTables express a frame that 1.4 has no COOSYS for (IVOA Note "Referencing STC in VOTable", 2010)
_STC_SPACE_FRAME_PREFIX = "stc:AstroCoordSystem.SpaceFrame."
# Aladin Desktop takes an unknown system for the name of a body, and draws nothing over a HiPS of any other body; it
# reads this parameter after the system
_BODY_SYSTEM, _STC_COORD_SYSTEM_ID = "BODY", "stc:AstroCoords.coord_system_id"
UNKNOWN_TERM = "UNKNOWN"
_VERSION_1_4_ALLOWED_SYSTEMS = {*_VERSION_1_4_SYSTEMS.values(), "ICRS", "ecl_FK4", "xy", "barycentric", "geo_app"}

_NON_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9_.\-]")
_DISPLAY_PATTERN = re.compile(
    r"%?(?P<width>\d{0,3})\.(?P<digits>\d{1,2})(?P<python>[feFE])"
    r"|(?P<fits>[FED])(?P<wide>\d{1,3})\.(?P<decimals>\d{1,2})"
)
_TEMPLATE_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@cache_results(4096)
def assign_xml_ids(names: tuple[str, ...]) -> tuple[str, ...]:
    """List the XML IDs of the FIELDs of columns with these names, in order, for references from descriptors.

    A valid XML name is its own ID; other names are converted. Equal IDs get ``_2``, ``_3``.
    """
    used: set[str] = set()
    ids = []
    for name in names:
        ident = _NON_NAME_CHARACTERS.sub("_", name) or "_"
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
def choose_null_value(column: Column, serialization: str) -> str | None:
    """Choose the integer that stands for null in a column (VALUES/@null); None if none is needed or possible.

    Scalars need it in BINARY only, elements of arrays in every serialization (VOTable 1.4 section 2.3).
    """
    kind = column.type
    limits = INTEGER_LIMITS.get(kind.datatype)
    if limits is None or kind.stored_xtype is not None:
        return None
    if kind.arraysize is None and (serialization != "BINARY" or column.required):
        return None
    lowest, highest = limits
    try:
        if column.null is not None and lowest <= int(column.null) <= highest:
            return str(int(column.null))
    except ValueError:
        pass  # the null of the source was a word
    is_lowest_free = column.minimum is not None and column.minimum > lowest
    is_highest_free = column.maximum is not None and column.maximum < highest
    if is_highest_free and not is_lowest_free:
        return str(highest)
    if is_lowest_free or lowest:
        return str(lowest)
    return None


@lru_cache(maxsize=4096)
def write_field(
    column: Column,
    xml_id: str,
    serialization: str,
    options: tuple[tuple[str, str], ...] = (),
    frame_id: str | None = None,
) -> str:
    """Write one FIELD."""
    inner = _write_values_element(column, choose_null_value(column, serialization), options)
    if column.link:
        inner += f"<LINK href={quote_attribute(_convert_link_template(column.link))}/>"
    attributes = _write_field_attributes(column, xml_id, frame_id)
    return _write_element("FIELD", attributes, column.description or column.label, inner)


def _write_field_attributes(column: Column, ident: str | None, frame: str | None) -> str:
    kind = column.type
    attributes = [
        f" name={quote_attribute(column.name)}",
        write_xml_attribute("ID", ident),
        write_xml_attribute("datatype", kind.datatype),
        write_xml_attribute("arraysize", kind.arraysize),
        write_xml_attribute("unit", column.unit),
        write_xml_attribute("ucd", column.ucd),
        write_xml_attribute("utype", column.utype),
        write_xml_attribute("xtype", kind.xtype),
        write_xml_attribute("ref", frame),
    ]
    if column.display == HIDDEN_DISPLAY:
        attributes.append(' type="hidden"')
    if column.display:
        attributes.append(_write_display_attributes(column))
    return "".join(attributes)


def _write_display_attributes(column: Column) -> str:
    """Write the display format of a number (``.3f``, ``8.3f``, ``%.3f``, ``F8.3``, ``.2e``) as width and precision."""
    match = _DISPLAY_PATTERN.fullmatch(column.display or "")
    if match is None or column.type.datatype not in {"float", "double"}:
        return ""
    word = (match["python"] or match["fits"]).upper()
    digits = int(match["digits"] or match["decimals"])
    width = int(match["width"] or match["wide"] or 0)
    attributes = ""
    if width:
        attributes = f' width="{width}"'
    if word != "F":
        attributes += f' precision="E{digits + 1}"'
    elif digits:  # the schema does not allow F0
        attributes += f' precision="F{digits}"'
    return attributes


def _write_element(tag: str, attributes: str, description: str | None, inner: str) -> str:
    if description:
        description_xml = f"<DESCRIPTION>{escape_xml(description)}</DESCRIPTION>"
    else:
        description_xml = ""
    if description_xml or inner:
        return f"<{tag}{attributes}>{description_xml}{inner}</{tag}>\n"
    return f"<{tag}{attributes}/>\n"


def _write_values_element(column: Column, null: str | None, options: tuple[tuple[str, str], ...]) -> str:
    inner = ""
    if column.type.is_numeric:
        show = _format_integer if column.type.is_integer else _format_number
        if column.minimum is not None:
            inner += f'<MIN value="{show(column.minimum)}"/>'
        if column.maximum is not None:
            inner += f'<MAX value="{show(column.maximum)}"/>'
    for code, label in options:
        inner += f"<OPTION{write_xml_attribute('name', label)} value={quote_attribute(code)}/>"
    if not inner:
        if null is not None:
            return f"<VALUES{write_xml_attribute('null', null)}/>"
        return ""
    return f"<VALUES{write_xml_attribute('null', null)}>{inner}</VALUES>"


def _format_integer(value: float) -> str:
    if float(value).is_integer():
        return str(int(value))
    return _format_number(value)


def _format_number(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        if value < 0:
            return "-Inf"
        return "+Inf"
    return repr(float(value))


def _convert_link_template(template: str) -> str:
    """Convert our ``{column}`` to ``${column}`` of VOTable."""

    def convert_placeholder(match: re.Match[str]) -> str:
        if match[1] is None:  # a doubled brace
            return match[0][0]
        return f"${{{match[1]}}}"

    return _TEMPLATE_PATTERN.sub(convert_placeholder, template)


def write_info(item: InfoElement) -> str:
    """Write an INFO; short ones are cached, for they stand in answer after answer."""
    if len(item.value) + len(item.content or "") < MAX_CACHED_INFO_CHARACTERS:
        return _write_cached_info(item)
    return _write_info_element(item)


def _write_info_element(item: InfoElement) -> str:
    attributes = f" name={quote_attribute(item.name)} value={quote_attribute(item.value)}"
    attributes += write_xml_attribute("ID", item.id)
    attributes += write_xml_attribute("ucd", item.ucd)
    attributes += write_xml_attribute("utype", item.utype)
    if item.content:
        return f"<INFO{attributes}>{escape_xml(item.content)}</INFO>\n"
    return f"<INFO{attributes}/>\n"


_write_cached_info = lru_cache(maxsize=4096)(_write_info_element)


def write_query_status(value: str, message: str | None = None) -> str:
    """Write a QUERY_STATUS (DALI 1.1 section 4.4)."""
    if message:
        return f'<INFO name="QUERY_STATUS" value="{value}">{escape_xml(message)}</INFO>\n'
    return f'<INFO name="QUERY_STATUS" value="{value}"/>\n'


OK_STATUS = write_query_status("OK")


def _write_frame(item: ReferenceFrame, ident: str, version: str) -> str:
    if item.kind == "timesys":
        # the schema requires both attributes, and both vocabularies have a term for unknown
        inner = write_xml_attribute("timeorigin", item.timeorigin)
        inner += write_xml_attribute("timescale", item.timescale or UNKNOWN_TERM)
        inner += write_xml_attribute("refposition", item.refposition or UNKNOWN_TERM)
        return f"<TIMESYS{write_xml_attribute('ID', ident)}{inner}/>\n"
    inner = write_xml_attribute("equinox", item.equinox) + write_xml_attribute("epoch", item.epoch)
    if version == LATEST_VERSION:
        inner += write_xml_attribute("refposition", item.refposition)
    system = write_xml_attribute("system", _translate_frame_system(item, version))
    return f"<COOSYS{write_xml_attribute('ID', ident)}{system}{inner}/>\n"


def _translate_frame_system(item: ReferenceFrame, version: str) -> str | None:
    if version == LATEST_VERSION:
        return item.system
    return _VERSION_1_4_SYSTEMS.get(item.system or "", item.system)


def _can_express_frame(item: ReferenceFrame, version: str) -> bool:
    """Return whether a version has an element for a frame: the systems of a COOSYS are a closed list in 1.4."""
    if item.kind == "timesys" or version == LATEST_VERSION:
        return True
    return _translate_frame_system(item, version) in {*_VERSION_1_4_ALLOWED_SYSTEMS, None}


def choose_votable_version(frames: Sequence[ReferenceFrame]) -> str:
    """Choose the version that can express all frames in full: 1.4 has no refposition of a COOSYS."""
    for frame in frames:
        has_position = frame.kind != "timesys" and frame.refposition is not None
        if has_position or not _can_express_frame(frame, DEFAULT_VERSION):
            return LATEST_VERSION
    return DEFAULT_VERSION


def _write_frame_group(item: ReferenceFrame, idents: Sequence[str]) -> str:
    """Write a frame of the sky or of a body as a GROUP that refers to the columns in this frame."""
    frame_values = {"CoordRefFrame": item.system, "ReferencePosition": item.refposition, "CoordEquinox": item.equinox}
    inner = ""
    for name, value in frame_values.items():
        if value is not None:
            utype = write_xml_attribute("utype", _STC_SPACE_FRAME_PREFIX + name)
            quoted_value = quote_attribute(value)
            inner += f'<PARAM name="{name}" datatype="char" arraysize="*"{utype} value={quoted_value}/>'
    inner += _write_body_name_param(item)
    for ident in idents:
        inner += f"<FIELDref ref={quote_attribute(ident)}/>"
    return f'<GROUP utype="stc:CatalogEntryLocation">{inner}</GROUP>\n'


def _write_body_name_param(item: ReferenceFrame) -> str:
    """Write the name of the body of a frame as HiPS of bodies state it (hips_frame): ``mars``."""
    if item.system != _BODY_SYSTEM or not item.refposition:
        return ""
    return (
        f'<PARAM name="coord_system_id" datatype="char" arraysize="*" utype="{_STC_COORD_SYSTEM_ID}" '
        f"value={quote_attribute(item.refposition.lower())}/>"
    )


def _write_group(item: ColumnGroup, ids: Mapping[str, str], params: Collection[str]) -> str:
    refs = ""
    for role, name in item.roles.items():
        if name not in ids:
            continue
        element = "PARAMref" if name in params else "FIELDref"
        role_utype = ""
        if role != name:
            role_utype = _write_role_utype(role)
        refs += f"<{element} ref={quote_attribute(ids[name])}{role_utype}/>"
    if not refs:
        return ""
    attributes = write_xml_attribute("name", item.name)
    attributes += write_xml_attribute("ucd", item.ucd)
    attributes += write_xml_attribute("utype", item.utype)
    return _write_element("GROUP", attributes, item.description, refs)


def _write_role_utype(role: str) -> str:
    """Write a role as a utype: a data model path as it is, one of our own words with a prefix."""
    if not role:
        return ""
    if ":" not in role:
        role = f"hven:{role}"
    return write_xml_attribute("utype", role)


def write_param(
    column: Column, value: object, ident: str | None = None, options: tuple[tuple[str, str], ...] = ()
) -> str:
    """Write a PARAM."""
    attributes = (
        _write_field_attributes(column, ident, None)
        + f" value={quote_attribute(_format_param_value(column.type, value))}"
    )
    return _write_element("PARAM", attributes, column.description, _write_values_element(column, None, options))


def _format_param_value(column_type: ColumnType, value: object) -> str:
    if value is None:
        if column_type.datatype in {"float", "double"} and column_type.arraysize is None:
            return "NaN"
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _format_number(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(_format_param_value(column_type, item) for item in value)
    return str(value)


def write_document_start(
    metadata: TableMetadata,
    columns: Sequence[Column],
    serialization: str,
    version: str = DEFAULT_VERSION,
    namespace: str | None = None,
) -> str:
    """Write everything before the element that holds the rows (DATA not included).

    `namespace` is the version whose namespace the client requires.
    """
    systems, table = _find_or_write_table_xml(metadata, columns, serialization, version)
    if version == DEFAULT_VERSION:
        opening = DOCUMENT_OPENING
    else:
        opening = DOCUMENT_OPENING.replace(f'VOTABLE version="{DEFAULT_VERSION}"', f'VOTABLE version="{version}"')
    if namespace is not None:
        opening = opening.replace(NAMESPACE, NAMESPACE_PREFIX + namespace)
    parts = [opening, '<RESOURCE type="results">\n']
    if metadata.includes_query_status:
        parts.append(OK_STATUS)
    parts += map(write_info, (*metadata.infos, *metadata.request_infos))
    return "".join([*parts, systems, table])


class CachedTableXml(NamedTuple):
    """The XML of frames and table that was written for some columns.

    It keeps the objects that it was written for alive, so that no other object gets their identity.
    """

    cached_for: tuple[object, ...]
    frames_xml: str
    table_xml: str


_table_xml_cache: LruCache[CachedTableXml] = LruCache(MAX_CACHE_BYTES, MAX_CACHE_BYTES // 4)


def _find_or_write_table_xml(
    metadata: TableMetadata, columns: Sequence[Column], serialization: str, version: str
) -> tuple[str, str]:
    """Write the frames, and the table up to its rows.

    The result is cached for the columns of a plan, for the same plan answers many requests.
    """
    described_objects = (columns, metadata.frames, metadata.groups, metadata.params, metadata.enums)
    # columns that are fitted to their rows differ from answer to answer, and lists may change
    are_constant = set(map(type, (metadata.frames, metadata.groups, metadata.params))) == {tuple}
    is_cacheable = columns is metadata.columns and are_constant
    object_ids = tuple(map(id, described_objects))
    links = tuple(metadata.links)
    key = (*object_ids, serialization, version, metadata.name, metadata.id, metadata.description, links)
    if is_cacheable:
        cached_xml = _table_xml_cache.find(key)
    else:
        cached_xml = None
    if cached_xml is None:
        cached_xml = CachedTableXml(
            described_objects, *_write_frames_and_table_xml(metadata, columns, serialization, version)
        )
        if is_cacheable:
            _table_xml_cache.store(key, cached_xml, len(cached_xml.frames_xml) + len(cached_xml.table_xml))
    return cached_xml.frames_xml, cached_xml.table_xml


def _write_frames_and_table_xml(
    metadata: TableMetadata, columns: Sequence[Column], serialization: str, version: str
) -> tuple[str, str]:
    names = tuple(map(attrgetter("name"), columns))
    # columns have the first choice of an ID, so that `assign_xml_ids` gives the same result everywhere
    table_ids = [metadata.id] if metadata.id else []
    frame_ids = list(map(attrgetter("id"), metadata.frames))
    param_names = [column.name for column, _ in metadata.params] if metadata.params else []
    ids = assign_xml_ids((*names, *frame_ids, *table_ids, *param_names))
    ids_by_name = dict(zip(names, ids, strict=False))
    systems = ""
    ids_by_frame: dict[str, str] = {}
    if metadata.frames:
        systems, ids_by_frame = _write_frames(metadata.frames, ids, ids[len(names) :], version)
    params: set[str] = set()
    if metadata.params:
        params_xml, params = _write_params_and_add_ids(metadata, ids[len(ids) - len(metadata.params) :], ids_by_name)
        systems += params_xml
    if not columns:  # a TABLE without FIELDs is not valid
        return systems, ""
    table_id = None
    if table_ids:
        table_id = ids[len(names) + len(metadata.frames)]
    parts = [f"<TABLE{write_xml_attribute('ID', table_id)}{write_xml_attribute('name', metadata.name)}>\n"]
    if metadata.description:
        parts.append(f"<DESCRIPTION>{escape_xml(metadata.description)}</DESCRIPTION>\n")
    for column, ident in zip(columns, ids, strict=False):
        options = _list_options(column, metadata.enums) if column.enum else ()
        frame = ids_by_frame.get(column.frame) if column.frame else None
        parts.append(write_field(column, ident, serialization, options, frame))
    if metadata.groups:
        parts += [_write_group(item, ids_by_name, params) for item in metadata.groups]
    for item in metadata.frames:
        if version != choose_votable_version([item]) == LATEST_VERSION:
            frame_columns = [ids_by_name[column.name] for column in columns if column.frame == item.id]
            parts.append(_write_frame_group(item, frame_columns))
    if metadata.links:
        parts += [f"<LINK href={quote_attribute(link)}/>\n" for link in metadata.links]
    return systems, "".join(parts)


def _write_frames(
    frames: Sequence[ReferenceFrame], all_ids: Collection[str], frame_ids: Sequence[str], version: str
) -> tuple[str, dict[str, str]]:
    """Write the COOSYS and TIMESYS elements of frames, and return the XML IDs of those that the version can express."""
    ids_by_frame: dict[str, str] = {}
    systems = ""
    bodies = []
    for frame, ident in zip(frames, frame_ids, strict=False):
        if _can_express_frame(frame, version):
            ids_by_frame[frame.id] = ident
            systems += _write_frame(frame, ident, version)
        body_param = _write_body_name_param(frame)
        if body_param:
            bodies.append(body_param)
    if version == LATEST_VERSION and len(bodies) == 1 and _BODY_SYSTEM not in all_ids:
        # the system of the COOSYS refers to this group
        systems += f'<GROUP ID="{_BODY_SYSTEM}" utype="stc:AstroCoordSystem">{bodies[0]}</GROUP>\n'
    return systems, ids_by_frame


def _write_params_and_add_ids(
    metadata: TableMetadata, param_ids: Sequence[str], ids_by_name: dict[str, str]
) -> tuple[str, set[str]]:
    """Write the constants; those that only a group refers to get an ID, which is added to `ids_by_name`."""
    grouped = {name for item in metadata.groups for name in item.roles.values()}
    params: set[str] = set()
    params_xml = ""
    for (column, value), ident in zip(metadata.params, param_ids, strict=True):
        if column.name in grouped and column.name not in ids_by_name:
            params.add(column.name)
            ids_by_name[column.name] = ident
        param_id = ident if column.name in params else None
        params_xml += write_param(column, value, param_id, _list_options(column, metadata.enums))
    return params_xml, params


def _list_options(column: Column, enums: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    if column.enum is not None and column.enum in enums:
        return tuple(enums[column.enum].items())
    return ()


def write_document_end(metadata: TableMetadata, trailing_status_xml: str) -> str:
    """Write everything after DATA: the trailing QUERY_STATUS and the descriptors."""
    table_end = "</TABLE>" if metadata.columns else ""
    descriptors = "".join(metadata.descriptors_xml)
    return f"{table_end}\n{trailing_status_xml}</RESOURCE>\n{descriptors}</VOTABLE>\n"


def write_error_document(message: str) -> str:
    """Write a whole document that says that the request failed (DALI 1.1 section 4.4.3)."""
    legal_message = replace_illegal_characters(message) or "unknown error"
    status = write_query_status("ERROR", legal_message)
    return f'{DOCUMENT_OPENING}<RESOURCE type="results">\n{status}</RESOURCE>\n</VOTABLE>\n'

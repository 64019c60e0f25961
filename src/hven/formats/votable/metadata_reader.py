"""Convert the metadata elements of VOTable to our model.

FIELD -> Column, GROUP -> Group, COOSYS and TIMESYS -> ReferenceFrame, INFO, PARAM, LINK.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import fields
from math import prod
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from lxml import etree

from hven.formats import InfoElement, TableMetadata
from hven.formats.votable.document import assign_xml_ids
from hven.formats.votable.nonstandard_types import FOREIGN_INTEGERS
from hven.model import DeviationKind, ReadDeviation, add_deviation, literal
from hven.model.errors import SourceError
from hven.model.table import HIDDEN_DISPLAY, Column, ColumnGroup, ReferenceFrame, TableConstant, deduplicate_names
from hven.model.types import SCALAR_TYPES_BY_DATATYPE, ColumnType, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ARRAYSIZE_PATTERN = re.compile(r"\d+(?:x\d+)*(?:x?\d*\*)?|\*")
_MAX_CELL_VALUES = 1 << 24  # values in one cell
_PRECISION_PATTERN = re.compile(r"([EF]?)([1-9][0-9]?)", re.IGNORECASE)
_TEMPLATE_PATTERN = re.compile(r"\$\{([^}]*)\}|([{}])")


def read_local_name(element: Any) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def list_children(element: Any, *names: str) -> list[Any]:
    """List the children with one of these names, whatever their namespace."""
    elements = (child for child in element if isinstance(child.tag, str))  # comments have no name
    return [child for child in elements if read_local_name(child) in names]


def _read_child_text(element: Any, name: str) -> str | None:
    for child in list_children(element, name):
        words = " ".join("".join(child.itertext()).split())
        return words or None
    return None


def _read_attribute(element: Any, name: str) -> str | None:
    return element.get(name, "").strip() or None


def read_type(element: Any) -> ColumnType:
    """Read datatype, arraysize and xtype; accept the usual mistakes: case, SQL words, a missing datatype.

    Raises
    ------
    SourceError
        The datatype or the arraysize is unknown.
    """
    declared_datatype = (_read_attribute(element, "datatype") or "char").strip()
    size = re.sub(r"\s+", "", _read_attribute(element, "arraysize") or "") or None
    if size is not None and not _ARRAYSIZE_PATTERN.fullmatch(size):
        message = f"{_describe_element(element)} has arraysize={size!r}, which is not in the VOTable standard"
        raise SourceError(message)
    count = _count_cell_values(size)
    if count is not None and not 0 < count <= _MAX_CELL_VALUES:
        if count or read_local_name(element) != "PARAM":
            message = (
                f"{_describe_element(element)} has arraysize={size!r}, but Hven cannot read cells of {count} values"
            )
            raise SourceError(message)
        size = "*"
    by_case = {name.lower(): name for name in SCALAR_TYPES_BY_DATATYPE}
    datatype_word = declared_datatype.lower()
    if datatype_word == "unicodestring":
        datatype_word = "unicodechar"
    datatype = by_case.get(datatype_word)
    if datatype is None and datatype_word in FOREIGN_INTEGERS:
        datatype = FOREIGN_INTEGERS[datatype_word].datatype
    if datatype is None:
        try:
            parsed_type = parse_type(declared_datatype.lower())
        except ValueError:
            message = (
                f"{_describe_element(element)} has datatype={declared_datatype!r}, which is not in the VOTable standard"
            )
            raise SourceError(message, remedy=f"use one of {', '.join(SCALAR_TYPES_BY_DATATYPE)}") from None
        datatype = parsed_type.datatype
        size = size or parsed_type.arraysize
    if datatype in {"char", "unicodeChar"} and (
        element.get("datatype") is None or declared_datatype.lower().endswith("string")
    ):
        size = size or "*"
    if size == "1":
        size = None  # one number or character, which is what all documents mean by it (VOTable 1.3 erratum 3)
    xtype = _read_attribute(element, "xtype")
    column_type = ColumnType(datatype, size, xtype)
    if column_type.stored_xtype is not None and not _can_carry_xtype(column_type):
        column_type = ColumnType(datatype, size)  # an xtype on a carrier that cannot hold it means nothing
    return column_type


def _count_cell_values(size: str | None) -> int | None:
    """Multiply the fixed dimensions (of a variable one, its bound); None for a scalar and for ``*``."""
    lengths = [int(length) for length in re.findall(r"\d+", size or "")]
    if not lengths:
        return None
    return prod(lengths)


def _can_carry_xtype(column_type: ColumnType) -> bool:
    special = column_type.stored_xtype
    if special is None:
        return True
    if special.votable == "char":
        return column_type.datatype in {"char", "unicodeChar"} and "x" not in (column_type.arraysize or "")
    if column_type.datatype not in {"float", "double"}:
        return False
    if special.arraysize == "*":
        return column_type.arraysize is not None
    return column_type.arraysize == special.arraysize


def _describe_element(element: Any) -> str:
    name = element.get("name") or element.get("ID") or ""
    return f"{read_local_name(element)} {name!r} (line {element.sourceline})"


def _add_metadata_deviation(deviations: list[ReadDeviation], element: Any, fault: str, remedy: str) -> None:
    message = f"{_describe_element(element)} {fault}"
    add_deviation(deviations, ReadDeviation(kind=DeviationKind.METADATA, message=message, remedy=remedy))


def read_column(
    element: Any,
    number: int,
    frames: Iterable[str],
    enums: dict[str, Mapping[str, str]],
    deviations: list[ReadDeviation],
) -> Column:
    """Read a FIELD or PARAM; its OPTIONs go to `enums` under the name of the column, or under another one if needed.

    Raises
    ------
    SourceError
        Its type cannot be read.
    """
    name = element.get("name") or element.get("ID") or f"col{number}"
    kind = read_type(element)
    null = minimum = maximum = enum = None
    for values in list_children(element, "VALUES"):
        null = values.get("null") or null
        for child in list_children(values, "MIN", "MAX"):
            bound = _parse_bound(child.get("value"), kind)
            if read_local_name(child) == "MIN":
                minimum = bound
            else:
                maximum = bound
        options = []
        for option in list_children(values, "OPTION"):
            code = option.get("value", "")
            options.append((code, option.get("name") or code))
        if options:
            labels = dict(options)
            if _are_codes_labels(options, kind):
                labels = {label: code for code, label in options}
                fault = "has its codes in the names of its OPTIONs; Hven reads them as values"
                _add_metadata_deviation(deviations, element, fault, "exchange `name` and `value` of each OPTION")
            enum, suffix = name, 1
            while enums.get(enum, labels) != labels:
                fault = "has different OPTIONs from an earlier element with this name"
                _add_metadata_deviation(
                    deviations, element, fault, "give one of the two another name; Hven keeps both lists"
                )
                suffix += 1
                enum = f"{name}_{suffix}"
            enums[enum] = labels
    ref = _read_attribute(element, "ref")
    if ref not in set(frames):
        ref = None
    return Column(
        name=name,
        type=kind,
        unit=_read_attribute(element, "unit"),
        ucd=_read_attribute(element, "ucd"),
        utype=_read_attribute(element, "utype"),
        description=_read_child_text(element, "DESCRIPTION"),
        null=null,
        minimum=minimum,
        maximum=maximum,
        enum=enum,
        frame=ref,
        display=_read_display_format(element, kind),
        link=_read_link_template(element),
    )


def _read_link_template(element: Any) -> str | None:
    """Read the first LINK, and convert ``${column}`` of VOTable to our ``{column}``."""

    def convert_placeholder(match: re.Match[str]) -> str:
        if match[2] is not None:  # a brace of the address itself
            return match[2] * 2
        return f"{{{match[1]}}}"

    for link in list_children(element, "LINK"):
        address = link.get("href")
        if address:
            return _TEMPLATE_PATTERN.sub(convert_placeholder, address)
    return None


def _read_display_format(element: Any, column_type: ColumnType) -> str | None:
    """Read precision and width (VOTable 1.4 section 4.1): ``F3`` and ``3`` become ``.3f``.

    ``E3``, three significant figures, becomes ``.2e``.
    """
    if read_local_name(element) == "FIELD" and _read_attribute(element, "type") == HIDDEN_DISPLAY:
        return HIDDEN_DISPLAY
    if column_type.datatype not in {"float", "double"}:
        return None
    precision = _PRECISION_PATTERN.fullmatch((element.get("precision") or "").strip())
    if precision is None:
        return None
    width = (element.get("width") or "").strip()
    if not width.isdecimal() or not 0 < len(width) <= 3 or not int(width):
        width = ""
    digits = int(precision.group(2))
    if precision.group(1).upper() == "E":
        return f"{width}.{digits - 1}e"
    return f"{width}.{digits}f"


def _are_codes_labels(options: list[tuple[str, str]], column_type: ColumnType) -> bool:
    """Return whether OPTIONs exchange codes and labels, which shows where codes should be numbers."""
    labels_are_numbers = all(_parse_bound(label, column_type) is not None for _, label in options)
    return labels_are_numbers and any(_parse_bound(code, column_type) is None for code, _ in options)


def _parse_bound(text: str | None, column_type: ColumnType) -> float | None:
    if text is None or not column_type.is_numeric:
        return None
    try:
        return literal.parse_number(text)
    except ValueError:
        return None


def read_info(element: Any) -> InfoElement:
    """Read an INFO."""
    content = "".join(element.itertext()).strip() or None
    return InfoElement(
        name=element.get("name") or element.get("ID") or "",
        value=element.get("value") or "",
        content=content,
        id=element.get("ID"),
        ucd=element.get("ucd"),
        utype=element.get("utype"),
    )


def read_frame(element: Any) -> ReferenceFrame:
    """Read a COOSYS or TIMESYS."""
    kind = read_local_name(element).lower()
    return ReferenceFrame(
        id=element.get("ID") or "",
        kind=kind,
        system=_read_attribute(element, "system"),
        epoch=_read_attribute(element, "epoch"),
        equinox=_read_attribute(element, "equinox"),
        refposition=_read_attribute(element, "refposition"),
        timescale=_read_attribute(element, "timescale"),
        timeorigin=_read_attribute(element, "timeorigin"),
    )


def read_param(
    element: Any, frames: Iterable[str], enums: dict[str, Mapping[str, str]], deviations: list[ReadDeviation]
) -> tuple[Column, object]:
    """Read a PARAM and its value; a value that does not fit its type stays text."""
    text_value = element.get("value")
    column = read_column(element, 1, frames, enums, deviations)
    column_fields = {item.name: getattr(column, item.name) for item in fields(column)}
    constant = TableConstant(**column_fields, value=text_value)
    if text_value is None:
        return constant, None
    try:
        values = pa.array([text_value])
        return constant, literal.parse_dali_literals(values, constant.type, constant.null)[0].as_py()
    except (literal.InvalidLiteralError, pa.ArrowException):
        return constant, text_value


def read_group(
    element: Any, names_by_id: Mapping[str, str], number: int, deviations: list[ReadDeviation]
) -> ColumnGroup | None:
    """Read a GROUP of FIELDrefs and PARAMrefs, with those of the GROUPs in it; None if it refers to nothing."""
    roles: dict[str, str] = {}
    for ref in _list_elements_including_groups(element, "FIELDref", "PARAMref"):
        name = names_by_id.get(ref.get("ref") or "")
        if name is None:
            kind = read_local_name(ref)
            fault = f"has a {kind} to {ref.get('ref')!r}, but no element has this ID"
            remedy = f"give the element this ID, or remove the {kind} in line {ref.sourceline}"
            _add_metadata_deviation(deviations, element, fault, remedy)
            continue
        reference_role = ref.get("utype") or ref.get("ucd") or name
        role = reference_role.removeprefix("hven:")
        while role in roles:
            role += "_"
        roles[role] = name
    if not roles:
        return None
    return ColumnGroup(
        name=element.get("name") or element.get("ID") or f"group{number}",
        roles=roles,
        description=_read_child_text(element, "DESCRIPTION"),
        utype=_read_attribute(element, "utype"),
        ucd=_read_attribute(element, "ucd"),
    )


def write_head_document(places: list[Any]) -> str:
    """Write the metadata of a table as a document without rows.

    Parameters
    ----------
    places
        The table and the elements around it, outermost first. Of other resources, only COOSYS and TIMESYS are kept.

    Raises
    ------
    SourceError
        A namespace is no URI: parsers accept it, but no document can be written with it.
    """
    head = parent = None
    for place in places:
        try:
            copied_place = etree.Element(place.tag, place.attrib, nsmap=place.nsmap)
        except ValueError as error:
            message = f"{read_local_name(place)} cannot be written again: {error}"
            raise SourceError(message) from error
        children = (child for child in place if read_local_name(child) not in {"RESOURCE", "TABLE", "DATA"})
        copied_place.extend(deepcopy(child) for child in children)
        if parent is None:
            head = copied_place
        else:
            parent.append(copied_place)
        parent = copied_place
    if head is None:
        return ""
    for frame in places[0].iter("{*}COOSYS", "{*}TIMESYS"):
        resource = frame.getparent()
        if resource not in places and read_local_name(resource) == "RESOURCE":
            head.append(deepcopy(frame))
    return etree.tostring(head, encoding="unicode")


def read_table_metadata(table: Any, ancestors: list[Any], deviations: list[ReadDeviation]) -> TableMetadata:
    """Describe a TABLE whose metadata elements are complete.

    Parameters
    ----------
    ancestors
        The elements around the table, outermost first. Their INFOs, PARAMs and frames belong to it, too.
    deviations
        References that lead nowhere and shared names are added to this list.

    Raises
    ------
    SourceError
        The type of a FIELD cannot be read.
    """
    ancestors_and_table = [*ancestors, table]
    frames = [read_frame(item) for item in _list_elements_within(ancestors_and_table, "COOSYS", "TIMESYS")]
    frame_ids = [item.id for item in frames if item.id]
    enums: dict[str, Mapping[str, str]] = {}
    elements = list_children(table, "FIELD")
    fields_as_read = [
        read_column(item, number, frame_ids, enums, deviations) for number, item in enumerate(elements, 1)
    ]
    columns = deduplicate_names(fields_as_read)
    field_ids_by_position = assign_xml_ids(tuple(item.name for item in columns))
    names = {}
    for item, ident, item_column in zip(elements, field_ids_by_position, columns, strict=True):
        names[item.get("ID") or ident] = item_column.name
    param_elements = _list_elements_within(ancestors_and_table, "PARAM")
    params = [read_param(item, frame_ids, enums, deviations) for item in param_elements]
    column_names = {item_column.name.lower() for item_column in columns}
    constants = deduplicate_names([item_column for item_column, _ in params], column_names)
    for item, item_column in zip(param_elements, constants, strict=True):
        if item.get("ID"):
            names[item.get("ID")] = item_column.name
    group_elements = list_children(table, "GROUP")
    groups_or_none = [read_group(item, names, number, deviations) for number, item in enumerate(group_elements, 1)]
    groups = deduplicate_names([item for item in groups_or_none if item is not None])
    infos = []
    for place in ancestors_and_table:
        infos += [read_info(item) for item in list_children(place, "INFO")]
    descriptions = [_read_child_text(place, "DESCRIPTION") for place in reversed(ancestors_and_table)]
    links = [link.get("href") for link in list_children(table, "LINK")]
    values = [value for _, value in params]
    return TableMetadata(
        columns=columns,
        name=table.get("name"),
        id=table.get("ID"),
        description=next(filter(None, descriptions), None),
        infos=infos,
        frames=[item for item in frames if item.id],
        groups=groups,
        params=list(zip(constants, values, strict=True)),
        links=[link for link in links if link],
        enums=enums,
        head_document=write_head_document(ancestors_and_table),
    )


def _list_elements_within(places: Iterable[Any], *names: str) -> list[Any]:
    elements = []
    for place in places:
        elements += _list_elements_including_groups(place, *names)
    return elements


def _list_elements_including_groups(element: Any, *names: str) -> list[Any]:
    matching_elements = list_children(element, *names)
    for inner in list_children(element, "GROUP", "DEFINITIONS"):
        matching_elements += _list_elements_including_groups(inner, *names)
    return matching_elements

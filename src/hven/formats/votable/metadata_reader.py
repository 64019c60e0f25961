"""VOTable's metadata elements into ours.

FIELD -> Column, GROUP -> Group, COOSYS and TIMESYS -> FrameRef, INFO, PARAM, LINK.
"""

from __future__ import annotations

import re
from dataclasses import fields
from math import prod
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.formats import InfoElement, TableMetadata
from hven.formats.votable.document import assign_field_ids
from hven.formats.votable.foreign_types import FOREIGN_INTEGERS
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.table import HIDDEN_DISPLAY, Column, ColumnGroup, Constant, FrameRef, deduplicate_names
from hven.model.types import SCALAR_TYPES_BY_DATATYPE, Type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ARRAYSIZE_PATTERN = re.compile(r"\d+(?:x\d+)*(?:x?\d*\*)?|\*")
_MAX_CELL_VALUES = 1 << 24  # values in one cell
_PRECISION_PATTERN = re.compile(r"([EF]?)([1-9][0-9]?)", re.IGNORECASE)
_TEMPLATE_PATTERN = re.compile(r"\$\{([^}]*)\}|([{}])")


def read_local_name(element: Any) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def list_children(element: Any, *names: str) -> list[Any]:
    """List the children with one of these names, whatever their namespace."""
    return [child for child in element if isinstance(child.tag, str) and read_local_name(child) in names]


def _read_child_text(element: Any, name: str) -> str | None:
    for child in list_children(element, name):
        words = " ".join("".join(child.itertext()).split())
        return words or None
    return None


def _read_attribute(element: Any, name: str) -> str | None:
    value = element.get(name)
    if value is not None:
        return value.strip() or None
    return None


def read_type(element: Any) -> Type:
    """Read datatype, arraysize and xtype, with the usual mistakes forgiven: case, SQL words, a missing datatype.

    Raises
    ------
    SourceError
        The datatype is none.
    """
    declared_datatype = (_read_attribute(element, "datatype") or "char").strip()
    size = re.sub(r"\s+", "", _read_attribute(element, "arraysize") or "") or None
    if size is not None and not _ARRAYSIZE_PATTERN.fullmatch(size):
        message = f"{_describe_element(element)} has arraysize={size!r}, which VOTable does not know"
        raise SourceError(message)
    count = _count_cell_values(size)
    if count is not None and not 0 < count <= _MAX_CELL_VALUES:
        if count or read_local_name(element) != "PARAM":
            message = f"{_describe_element(element)} has arraysize={size!r}: cells of {count} values are not read"
            raise SourceError(message)
        size = "*"
    by_case = {name.lower(): name for name in SCALAR_TYPES_BY_DATATYPE}
    datatype = by_case.get("unicodechar" if declared_datatype.lower() == "unicodestring" else declared_datatype.lower())
    if datatype is None and declared_datatype.lower() in FOREIGN_INTEGERS:
        datatype = FOREIGN_INTEGERS[declared_datatype.lower()].datatype
    if datatype is None:
        try:
            parsed_type = parse_type(declared_datatype.lower())
        except ValueError:
            message = f"{_describe_element(element)} has datatype={declared_datatype!r}, which VOTable does not know"
            raise SourceError(message, remedy=f"known: {', '.join(SCALAR_TYPES_BY_DATATYPE)}") from None
        datatype = parsed_type.datatype
        size = size or parsed_type.arraysize
    if datatype in {"char", "unicodeChar"} and (
        element.get("datatype") is None or declared_datatype.lower().endswith("string")
    ):
        size = size or "*"
    if size == "1":
        size = None  # one number or character, as everybody means by it (VOTable 1.3 erratum 3)
    xtype = _read_attribute(element, "xtype")
    column_type = Type(datatype, size, xtype)
    if column_type.stored_xtype is not None and not _can_carry_xtype(column_type):
        column_type = Type(datatype, size)  # an xtype on a carrier that cannot hold it says nothing
    return column_type


def _count_cell_values(size: str | None) -> int | None:
    """Multiply the fixed dimensions (of a variable one, its bound counts too); None for a scalar and for ``*``."""
    lengths = [int(length) for length in re.findall(r"\d+", size or "")]
    return prod(lengths) if lengths else None


def _can_carry_xtype(column_type: Type) -> bool:
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


def read_column(element: Any, number: int, frames: Iterable[str], enums: dict[str, Mapping[str, str]]) -> Column:
    """Read a FIELD or PARAM; its OPTIONs go to `enums` under the column's name.

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
            bound = _read_bound(child.get("value"), kind)
            if read_local_name(child) == "MIN":
                minimum, maximum = (bound, maximum)
            else:
                minimum, maximum = (minimum, bound)
        options = [
            (option.get("value", ""), option.get("name") or option.get("value", ""))
            for option in list_children(values, "OPTION")
        ]
        if options:
            enum = name
            enums[name] = _map_options(options, kind)
    links = [link.get("href") for link in list_children(element, "LINK") if link.get("href")]
    ref = _read_attribute(element, "ref")
    unit = _read_attribute(element, "unit")
    ucd = _read_attribute(element, "ucd")
    utype = _read_attribute(element, "utype")
    return Column(
        name=name,
        type=kind,
        unit=unit,
        ucd=ucd,
        utype=utype,
        description=_read_child_text(element, "DESCRIPTION"),
        null=null,
        minimum=minimum,
        maximum=maximum,
        enum=enum,
        frame=ref if ref in set(frames) else None,
        display=_read_display(element, kind),
        link=_TEMPLATE_PATTERN.sub(
            lambda match: f"{{{match.group(1)}}}" if match.group(2) is None else match.group(2) * 2, links[0]
        )
        if links
        else None,
    )


def _read_display(element: Any, column_type: Type) -> str | None:
    """Read precision and width (VOTable 1.4 section 4.1): ``F3``, ``3`` -> ``.3f``.

    ``E3``, three significant figures, -> ``.2e``.
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


def _map_options(options: list[tuple[str, str]], column_type: Type) -> dict[str, str]:
    """Return code -> label; some write them the other way round, which numbers tell."""
    if (
        column_type.is_numeric
        and all(_read_bound(label, column_type) is not None for _, label in options)
        and any(_read_bound(code, column_type) is None for code, _ in options)
    ):
        return {label: code for code, label in options}
    return dict(options)


def _read_bound(text: str | None, column_type: Type) -> float | None:
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


def read_frame(element: Any) -> FrameRef:
    """Read a COOSYS or TIMESYS."""
    kind = read_local_name(element).lower()
    return FrameRef(
        id=element.get("ID") or "",
        kind=kind,
        system=_read_attribute(element, "system"),
        epoch=_read_attribute(element, "epoch"),
        equinox=_read_attribute(element, "equinox"),
        refposition=_read_attribute(element, "refposition"),
        timescale=_read_attribute(element, "timescale"),
        timeorigin=_read_attribute(element, "timeorigin"),
    )


def read_param(element: Any, frames: Iterable[str], enums: dict[str, Mapping[str, str]]) -> tuple[Column, object]:
    """Read a PARAM and its value; a value that is none of its type stays text."""
    text_value = element.get("value")
    read_as_column = read_column(element, 1, frames, enums)
    constant = Constant(
        **{item.name: getattr(read_as_column, item.name) for item in fields(read_as_column)}, value=text_value
    )
    if text_value is None:
        return constant, None
    try:
        column = literal.parse_column(pa.array([text_value]), constant.type, constant.null)
        return constant, column[0].as_py()
    except (literal.InvalidLiteralError, pa.ArrowException):
        return constant, text_value


def read_group(element: Any, names: Mapping[str, str], number: int) -> ColumnGroup | None:
    """Read a GROUP of FIELDrefs and PARAMrefs, with what is in its own GROUPs; None if it refers to nothing."""
    roles: dict[str, str] = {}
    for ref in _list_grouped_elements(element, "FIELDref", "PARAMref"):
        name = names.get(ref.get("ref") or "")
        if name is None:
            continue
        role = (ref.get("utype") or ref.get("ucd") or name).removeprefix("hven:")
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


def read_table_metadata(table: Any, ancestors: list[Any]) -> TableMetadata:
    """Describe a TABLE whose metadata has been read.

    Parameters
    ----------
    ancestors
        The elements it stands in, outermost first: their INFOs, PARAMs and frames belong to it too.

    Raises
    ------
    SourceError
        A FIELD's type cannot be read.
    """
    ancestors_and_table = [*ancestors, table]
    frames = [
        read_frame(item) for place in ancestors_and_table for item in _list_grouped_elements(place, "COOSYS", "TIMESYS")
    ]
    frame_ids = [item.id for item in frames if item.id]
    enums: dict[str, Mapping[str, str]] = {}
    elements = list_children(table, "FIELD")
    columns = deduplicate_names(
        [read_column(item, number, frame_ids, enums) for number, item in enumerate(elements, 1)]
    )
    field_ids_by_position = assign_field_ids(tuple(item.name for item in columns))
    names = {
        item.get("ID") or ident: item_column.name
        for item, ident, item_column in zip(elements, field_ids_by_position, columns, strict=True)
    }
    param_elements = [item for place in ancestors_and_table for item in _list_grouped_elements(place, "PARAM")]
    params = [read_param(item, frame_ids, enums) for item in param_elements]
    constants = deduplicate_names(
        [item_column for item_column, _ in params], {item_column.name.lower() for item_column in columns}
    )
    names |= {
        item.get("ID"): item_column.name
        for item, item_column in zip(param_elements, constants, strict=True)
        if item.get("ID")
    }
    groups_or_none = [read_group(item, names, number) for number, item in enumerate(list_children(table, "GROUP"), 1)]
    groups = deduplicate_names([item for item in groups_or_none if item is not None])
    return TableMetadata(
        columns=columns,
        name=table.get("name"),
        id=table.get("ID"),
        description=next(
            (
                description
                for place in reversed(ancestors_and_table)
                if (description := _read_child_text(place, "DESCRIPTION"))
            ),
            None,
        ),
        infos=[read_info(item) for place in ancestors_and_table for item in list_children(place, "INFO")],
        frames=[item for item in frames if item.id],
        groups=groups,
        params=[(item_column, value) for item_column, (_, value) in zip(constants, params, strict=True)],
        links=[link.get("href") for link in list_children(table, "LINK") if link.get("href")],
        enums=enums,
    )


def _list_grouped_elements(element: Any, *names: str) -> list[Any]:
    matching_elements = list_children(element, *names)
    for inner in list_children(element, "GROUP", "DEFINITIONS"):
        matching_elements += _list_grouped_elements(inner, *names)
    return matching_elements

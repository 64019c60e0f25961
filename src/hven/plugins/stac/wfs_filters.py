"""Translate filters of WFS (Filter Encoding 1.0 and 2.0, in XML) to CQL2 JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from hven.model import literal
from hven.model.errors import ParamError
from hven.plugins.stac.cql2_conditions import find_filter_column, require_short_filter
from hven.plugins.stac.spatial_conditions import parse_numbers
from hven.plugins.stac.wfs_documents import REFERENCE_TAGS, get_tag, list_texts, require_shallow_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.plugins.stac.item_tables import ItemTable

_COMPARISONS = {
    "PropertyIsEqualTo": "=",
    "PropertyIsNotEqualTo": "<>",
    "PropertyIsLessThan": "<",
    "PropertyIsGreaterThan": ">",
    "PropertyIsLessThanOrEqualTo": "<=",
    "PropertyIsGreaterThanOrEqualTo": ">=",
}
_ID_ELEMENTS = {"ResourceId": "rid", "FeatureId": "fid", "GmlObjectId": "id"}


def decode_feature_id(feature_id: str) -> str:
    """Return the id of an item from that of a feature, ``collection.id`` with _HH for other characters.

    Parameters
    ----------
    feature_id
        What `hven.plugins.stac.feature_documents` wrote, or the part after the collection.
    """
    return unquote(feature_id.replace("_", "%"))


def parse_wfs_filter(
    text: str, item_table: ItemTable, orient_box: Callable[[Sequence[float], str], list[float]]
) -> dict[str, Any]:
    """Parse a filter.

    Parameters
    ----------
    text
        XML with the element Filter.
    item_table
        Table whose rows are filtered.
    orient_box
        Puts a box into the order west, south, east, north, from its numbers and the name of its frame.

    Returns
    -------
    filter
        CQL2 JSON.

    Raises
    ------
    ParamError, TooLargeError
        The text is no filter, or too long.
    """
    require_short_filter(text)
    if "<!" in text:  # no entities, which can grow without end
        raise _build_error("the filter contains a document type declaration or a comment", "leave it out")
    try:
        root = ET.fromstring(text)  # noqa: S314  (entities are refused above)
    except ET.ParseError as error:
        raise _build_error(f"the filter is not XML: {error}") from None
    require_shallow_document(root, "filter")
    if get_tag(root) != "Filter":
        raise _build_error(f"the filter is the element {get_tag(root)}, not Filter", "send the element Filter")
    return _WfsFilterParser(item_table, orient_box).join_conditions("and", list(root))


def _build_error(message: str, remedy: str = "") -> ParamError:
    return ParamError(message, name="FILTER", remedy=remedy)


class _WfsFilterParser:
    """Translates the elements of a filter."""

    def __init__(self, item_table: ItemTable, orient_box: Callable[[Sequence[float], str], list[float]]) -> None:
        self.item_table = item_table
        self.orient_box = orient_box

    def join_conditions(self, op: str, elements: Sequence[ET.Element]) -> dict[str, Any]:
        """Join the conditions of elements; several ids are alternatives."""
        ids = [element for element in elements if get_tag(element) in _ID_ELEMENTS]
        parts = [self._translate(element) for element in elements if get_tag(element) not in _ID_ELEMENTS]
        if ids:
            texts = [element.get(_ID_ELEMENTS[get_tag(element)], "") for element in ids]
            prefix = f"{self.item_table.id}."
            item_ids = [decode_feature_id(text.removeprefix(prefix)) for text in texts]
            parts.append({"op": "in", "args": [{"property": "id"}, item_ids]})
        if not parts:
            raise _build_error("the filter has an element without conditions")
        return parts[0] if len(parts) == 1 else {"op": op, "args": parts}

    def _translate(self, element: ET.Element) -> dict[str, Any]:
        tag = get_tag(element)
        if tag in {"And", "Or"}:
            return self.join_conditions(tag.lower(), list(element))
        if tag == "Not":
            return {"op": "not", "args": [self.join_conditions("and", list(element))]}
        if tag == "BBOX":
            return self._translate_box(element)
        return self._translate_predicate(element, tag)

    def _translate_predicate(self, element: ET.Element, tag: str) -> dict[str, Any]:
        name, literals = self._read_operands(element)
        reference = {"property": name}
        if tag in {"PropertyIsNull", "PropertyIsNil"}:
            return {"op": "isNull", "args": [reference]}
        if tag in _COMPARISONS and len(literals) == 1:
            args = [self._fold_case(element, value) for value in (reference, literals[0])]
            return {"op": _COMPARISONS[tag], "args": args}
        if tag == "PropertyIsBetween" and len(literals) == 2:
            return {"op": "between", "args": [reference, *literals]}
        if tag == "PropertyIsLike" and len(literals) == 1:
            pattern = _convert_like_pattern(str(literals[0]), element)
            return {"op": "like", "args": [self._fold_case(element, value) for value in (reference, pattern)]}
        message = f"the filter has the element {tag}, which is unknown or incomplete"
        raise _build_error(message, "use comparisons, BBOX, And, Or, Not and ids")

    @staticmethod
    def _fold_case(element: ET.Element, value: object) -> object:
        is_text = isinstance(value, str | dict)
        if is_text and element.get("matchCase") == "false":
            return {"op": "casei", "args": [value]}
        return value

    def _read_operands(self, element: ET.Element) -> tuple[str, list[Any]]:
        """Read the property and the literals; those of columns of numbers are numbers."""
        names, texts = list_texts(element.iter(), REFERENCE_TAGS), list_texts(element.iter(), {"Literal"})
        if len(names) != 1:
            raise _build_error(f"{get_tag(element)} needs exactly one property")
        name = names[0].rpartition(":")[2].rpartition("/")[2]
        column = find_filter_column(name, self.item_table)
        if not column.type.is_numeric or get_tag(element) == "PropertyIsLike":
            return name, list(texts)
        try:
            return name, [literal.parse_number(text) for text in texts]
        except ValueError:
            raise _build_error(f"{name} must be compared with numbers, not with {texts!r:.60}") from None

    def _translate_box(self, element: ET.Element) -> dict[str, Any]:
        frame = next((child.get("srsName") for child in element.iter() if child.get("srsName")), None) or ""
        words = list_texts(element.iter(), {"lowerCorner", "upperCorner", "coordinates"})
        numbers = parse_numbers(" ".join(words).replace(",", " ").split())
        if len(numbers) != 4:
            raise _build_error("BBOX needs an Envelope or a Box with two corners")
        return {"op": "s_intersects", "args": [{"property": "geometry"}, {"bbox": self.orient_box(numbers, frame)}]}


def _convert_like_pattern(text: str, element: ET.Element) -> str:
    """Convert a pattern with its own wildcards to one with % and _."""
    if {"%", "_"} & set(text) - {element.get("wildCard"), element.get("singleChar")}:
        raise _build_error(
            "the pattern of PropertyIsLike contains % or _ as an ordinary character, which is not supported"
        )
    for word, replacement in ((element.get("wildCard", "*"), "%"), (element.get("singleChar", "."), "_")):
        if word and word != replacement:
            text = text.replace(word, replacement)
    return text

"""What the schema of each VOTable version accepts, and how a document is made to fit it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Mapping

# attributes of each element in all versions; `nrows` of a TABLE is left out, because answers have other numbers of rows
_ATTRIBUTES = {
    "VOTABLE": "ID",
    "RESOURCE": "name ID utype type",
    "TABLE": "ID name ref ucd utype",
    "FIELD": "ID name datatype arraysize unit ucd utype ref width precision type",
    "PARAM": "ID name datatype arraysize value unit ucd utype ref width precision",
    "GROUP": "ID name ref ucd utype",
    "FIELDref": "ref",
    "PARAMref": "ref",
    "VALUES": "ID type null ref",
    "MIN": "value inclusive",
    "MAX": "value inclusive",
    "OPTION": "name value",
    "LINK": "ID content-role content-type title value href gref action",
    "INFO": "ID name value",
    "COOSYS": "ID equinox epoch system",
    "TIMESYS": "ID timeorigin timescale refposition",
    "DESCRIPTION": "",
}
_LATER_ATTRIBUTES = {  # by the first version that has them
    "1.2": {
        "FIELD": "xtype",
        "PARAM": "xtype type",
        "INFO": "unit xtype ref ucd utype",
        "FIELDref": "ucd utype",
        "PARAMref": "ucd utype",
    },
    "1.5": {"COOSYS": "refposition"},
}
_REQUIRED_ATTRIBUTES = {
    "PARAM": ("name", "datatype", "value"),
    "INFO": ("name", "value"),
    "OPTION": ("value",),
    "MIN": ("value",),
    "MAX": ("value",),
}
# children of each element in the order that the schema requires; those of one text may be mixed
_CHILDREN = {
    "VOTABLE": ("DESCRIPTION", "COOSYS TIMESYS GROUP PARAM INFO", "RESOURCE"),
    "RESOURCE": ("DESCRIPTION", "INFO", "COOSYS TIMESYS GROUP PARAM", "LINK", "TABLE RESOURCE"),
    "TABLE": ("DESCRIPTION", "FIELD PARAM GROUP", "LINK"),
    "FIELD": ("DESCRIPTION", "VALUES", "LINK"),
    "PARAM": ("DESCRIPTION", "VALUES", "LINK"),
    "GROUP": ("DESCRIPTION", "FIELDref PARAMref PARAM GROUP"),
    "VALUES": ("MIN", "MAX", "OPTION"),
    "OPTION": ("OPTION",),
}
_SINGLE_CHILDREN = {"DESCRIPTION", "VALUES", "MIN", "MAX"}
_ID_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_NON_ID_CHARACTERS = re.compile(r"[^A-Za-z0-9_.\-]")
_NAME_TOKEN = re.compile(r"[\w.:\-]+")
_YEAR = re.compile(r"[JB]?[0-9]+([.][0-9]*)?")
_VALUE_PATTERNS: dict[str | tuple[str, str], re.Pattern[str]] = {
    "ucd": re.compile(r"[A-Za-z0-9_.:;\-]*"),
    "precision": re.compile(r"[EF]?[1-9][0-9]*"),
    "width": re.compile(r"0*[1-9][0-9]*"),
    "equinox": _YEAR,
    "epoch": _YEAR,
    "inclusive": re.compile("yes|no"),
    "arraysize": re.compile(r"([0-9]+x)*[0-9]*[*]?"),
    ("RESOURCE", "type"): re.compile("results|meta"),
    ("VALUES", "type"): re.compile("legal|actual"),
    ("FIELD", "type"): re.compile("hidden|no_query|trigger|location"),
    ("PARAM", "type"): re.compile("hidden|no_query|trigger|location"),
}
_VERSION_PATTERNS = {  # stricter patterns of one version
    "1.1": {"ucd": re.compile(r"[A-Za-z0-9_.;\-]*"), "content-role": re.compile("query|hints|doc|location")},
    "1.2": {"content-role": _NAME_TOKEN, "content-type": _NAME_TOKEN},
}
_SYSTEMS = {
    "eq_FK4",
    "eq_FK5",
    "ICRS",
    "ecl_FK4",
    "ecl_FK5",
    "galactic",
    "supergalactic",
    "xy",
    "barycentric",
    "geo_app",
}
_OLDER_SYSTEM_NAMES = {  # terms of 1.5 in the list of 1.1 to 1.4
    "FK4": "eq_FK4",
    "FK5": "eq_FK5",
    "ECLIPTIC": "ecl_FK5",
    "GALACTIC": "galactic",
    "SUPER_GALACTIC": "supergalactic",
}
_DATATYPES = "boolean bit unsignedByte short int long char unicodeChar float double floatComplex doubleComplex"
_DATATYPES_BY_LOWER_CASE = {name.lower(): name for name in _DATATYPES.split()}


def fit_document(root: etree._Element, version: str) -> dict[str, str]:
    """Make a document fit the schema of a version, whatever it came from.

    What the version lacks is left out, what it requires is added, and children are put into its order. References that
    lead nowhere are removed.

    Parameters
    ----------
    root
        The element VOTABLE, or a RESOURCE beside it; elements have no namespace. It is changed.
    version
        ``1.1`` to ``1.5``.

    Returns
    -------
    new_ids
        Invalid and repeated XML IDs, and those that replace them.
    """
    _unwrap_definitions(root)
    if version == "1.1":
        _move_groups_into_table(root)
    _fit_element(root, version)
    new_ids = _replace_invalid_ids(root)
    remove_dangling_references(root)
    return new_ids


def _unwrap_definitions(root: etree._Element) -> None:
    """Replace DEFINITIONS, which is deprecated since 1.1, by its content."""
    for element in list(root.iterfind("DEFINITIONS")):
        position = root.index(element)
        root[position : position + 1] = list(element)


def _move_groups_into_table(root: etree._Element) -> None:
    """Move GROUPs outside of tables, which 1.1 does not have, to the beginning of the only table."""
    table = next(root.iter("TABLE"), None)
    groups = [group for place in root.iter("VOTABLE", "RESOURCE") for group in place.iterfind("GROUP")]
    if table is not None:
        for number, group in enumerate(groups):
            table.insert(number, group)


def _fit_element(element: etree._Element, version: str) -> None:
    """Fit an element and all in it."""
    _fit_attributes(element, version)
    if element.tag in {"DESCRIPTION", "INFO"}:  # a DESCRIPTION may hold elements of HTML
        if element.tag == "INFO":
            etree.strip_tags(element, "*")
        return
    element.text = None
    order: dict[str, int] = {}
    for rank, names in enumerate(_CHILDREN.get(element.tag, ())):
        order |= dict.fromkeys(names.split(), rank)
    if version < "1.4":
        order.pop("TIMESYS", None)
    if version == "1.1" and element.tag in {"VOTABLE", "RESOURCE"}:
        order.pop("GROUP", None)
    kept_children: list[etree._Element] = []
    single_names = set()
    for child in list(element):
        element.remove(child)
        if child.tag not in order or child.tag in single_names:
            continue
        if child.tag in _SINGLE_CHILDREN:
            single_names.add(child.tag)
        if _is_expressible(child, version):
            child.tail = None
            kept_children.append(child)
    kept_children.sort(key=lambda child: order[child.tag])
    for child in kept_children:
        _fit_element(child, version)
    element.extend(kept_children)


def _is_expressible(element: etree._Element, version: str) -> bool:
    """Return whether a version has an element for this: older ones know only some systems of coordinates."""
    if element.tag in {"MIN", "MAX", "OPTION"}:
        return element.get("value") is not None
    if element.tag in {"FIELDref", "PARAMref"}:
        return element.get("ref") is not None
    if element.tag != "COOSYS" or version >= "1.5":
        return True
    system = element.get("system", "")
    return not system or _OLDER_SYSTEM_NAMES.get(system, system) in _SYSTEMS


def _fit_attributes(element: etree._Element, version: str) -> None:
    tag = element.tag
    names = _ATTRIBUTES.get(tag, "").split()
    for first_version, attributes in _LATER_ATTRIBUTES.items():
        if version >= first_version:
            names += attributes.get(tag, "").split()
    version_patterns = _VERSION_PATTERNS.get(version, {})
    for key, text in list(element.attrib.items()):
        name, value = str(key), str(text).strip()
        pattern = version_patterns.get(name) or _VALUE_PATTERNS.get((tag, name)) or _VALUE_PATTERNS.get(name)
        if name not in names or (pattern is not None and not pattern.fullmatch(value)):
            del element.attrib[name]
    if tag == "COOSYS":
        if version < "1.5" and "system" in element.attrib:
            element.set("system", _OLDER_SYSTEM_NAMES.get(element.get("system", ""), element.get("system", "")))
        if not element.get("ID"):
            element.set("ID", "coosys")
    if "datatype" in names:
        _fit_datatype(element)
    for name in _REQUIRED_ATTRIBUTES.get(tag, ()):
        if element.get(name) is None:
            element.set(name, element.get("ID", "") if name == "name" else "")


def _fit_datatype(element: etree._Element) -> None:
    """Correct a datatype in another case, and replace one that is missing or unknown by text."""
    datatype = _DATATYPES_BY_LOWER_CASE.get(element.get("datatype", "").strip().lower())
    if datatype is None:
        element.set("datatype", "char")
        element.set("arraysize", "*")
    else:
        element.set("datatype", datatype)


def _replace_invalid_ids(root: etree._Element) -> dict[str, str]:
    """Replace invalid and repeated XML IDs, with the references to them."""
    used_ids: set[str] = set()
    new_ids: dict[str, str] = {}
    for element in root.iter():
        xml_id = None
        if isinstance(element.tag, str):
            xml_id = element.get("ID")
        if xml_id is None:
            continue
        unique_id = make_unique_id(xml_id, used_ids)
        if unique_id != xml_id:
            element.set("ID", unique_id)
            new_ids.setdefault(xml_id, unique_id)
    invalid_ids = {old: new for old, new in new_ids.items() if old not in used_ids}
    replace_references(root, invalid_ids)
    return invalid_ids


def make_unique_id(name: str, used_ids: set[str]) -> str:
    """Make a valid XML ID of a name, and add it to the used ones.

    Parameters
    ----------
    name
        An ID, or any text.
    used_ids
        IDs of the document.
    """
    xml_id = name
    if not _ID_PATTERN.fullmatch(name):
        xml_id = _NON_ID_CHARACTERS.sub("_", name)
        if not _ID_PATTERN.fullmatch(xml_id):
            xml_id = f"_{xml_id}"
    unique_id, number = xml_id, 1
    while unique_id in used_ids:
        number += 1
        unique_id = f"{xml_id}_{number}"
    used_ids.add(unique_id)
    return unique_id


def replace_references(root: etree._Element, new_ids: Mapping[str, str]) -> None:
    """Replace references to elements that have new IDs.

    Parameters
    ----------
    root
        The document, which is changed.
    new_ids
        Old ID -> new ID.
    """
    if not new_ids:
        return
    for element in root.iter():
        reference = element.get("ref")
        if reference is not None and reference in new_ids:
            element.set("ref", new_ids[reference])


def remove_dangling_references(root: etree._Element) -> None:
    """Remove references to elements that are not there, and GROUPs that have nothing else.

    Parameters
    ----------
    root
        The document, which is changed.
    """
    ids = {element.get("ID") for element in root.iter()}
    for element in list(root.iter()):
        reference = element.get("ref")
        if reference is None or reference in ids:
            continue
        if element.tag in {"FIELDref", "PARAMref"}:
            _remove_with_empty_groups(element)
        else:
            del element.attrib["ref"]


def _remove_with_empty_groups(element: etree._Element) -> None:
    """Remove an element, and the GROUPs around it that have no member left."""
    parent = element.getparent()
    while parent is not None:
        parent.remove(element)
        has_members = any(child.tag != "DESCRIPTION" for child in parent)
        if parent.tag != "GROUP" or has_members:
            return
        element, parent = parent, parent.getparent()

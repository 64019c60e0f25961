"""Turn columns and tables of a resource descriptor into those of a descriptor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.descriptor_sections import map_standard_column_optionality, map_standard_column_units
from hven.model import units
from hven.plugins.migration.document_parts import TYPE_WORDS
from hven.plugins.migration.mixin_columns import MIXIN_COLUMNS, ColumnFacts
from hven.plugins.migration.resource_xml import Element

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from hven.plugins.migration.migration_report import MigrationReport

EPN_TAP_STANDARD = "epn-tap-2.0"
EPN_TAP_MARKERS = {"granule_uid", "granule_gid", "obs_id", "dataproduct_type"}  # of version 2, by hand
DELIMITED_PREFIX = "quoted/"  # before names that SQL must write in double quotes
ACCESS_COLUMNS = {"access_url", "access_format", "access_estsize"}
DISPLAY_WORDS = {"dms": "sexagesimal", "hms": "sexagesimal", "time": "sexagesimal", "humanDate": "iso"}


class ColumnConverter:
    """Converts the columns of the tables of one resource.

    Parameters
    ----------
    find_table
        Finds a table by its id, ``table`` or ``folder/rd#table``, for columns that are copies.
    report
        Where it notes what it did.
    """

    def __init__(self, find_table: Callable[[str], Element | None], report: MigrationReport) -> None:
        self._find_table = find_table
        self._report = report

    def convert_columns(self, table: Element) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Convert the columns of a table, with those of its mixins.

        Returns
        -------
        columns
            Their attributes by their names.
        null_literals
            Texts that rowmakers read as missing values, by the names of columns in lower case.
        """
        columns: dict[str, dict[str, Any]] = {}
        null_literals: dict[str, str] = {}
        for mixin in table.list_children("mixin"):
            name = mixin.text.removeprefix("//")
            for column_name, facts in MIXIN_COLUMNS.get(name, {}).items():
                columns[column_name] = _list_attributes(facts)
        for element in table.list_children("column", "param"):
            if element.tag == "column":
                name = element.get_value("name") or element.get_value("original").rpartition(".")[2]
                name = name.removeprefix(DELIMITED_PREFIX)
                if name:
                    columns[name] = self.convert_column(element, table)
                    null_literals[name.lower()] = self._find_null_literal(element, table)
        indexed_names = {index.get_value("columns").strip().lower() for index in table.list_children("index")}
        for name, attributes in columns.items():
            if name.lower() in indexed_names:
                attributes["indexed"] = True
        return columns, null_literals

    def convert_column(self, element: Element, table: Element) -> dict[str, Any]:
        """Convert a column."""
        attributes: dict[str, Any] = {}
        original = element.get_value("original")
        if original:
            attributes = self._copy_original(original, table)
            if not attributes:
                self._report.add_decision(element, f"the column {original!r}, of which this is a copy, is not there")
                attributes = {"type": "string"}
        column_type = element.get_value("type")
        if column_type or not original:
            attributes["type"] = self._convert_type(column_type or "real", element)
        for name, key in (("unit", "unit"), ("ucd", "ucd"), ("utype", "utype")):
            value = element.get_value(name)
            if value and "\\" not in value:
                attributes[key] = value
        description = " ".join(re.sub(r"\\\n", " ", element.get_value("description")).split())
        if description:
            attributes["description"] = description
        label = " ".join(element.get_value("tablehead").split())
        if label and label.lower() != element.get_value("name").lower():
            attributes["label"] = label
        level = element.get_value("verbLevel")
        if level.isdigit() and 1 <= int(level) <= 30 and int(level) != 10:
            attributes["rank"] = int(level)
        for key in ("required", "hidden"):
            if element.is_true(key):
                attributes[key] = True
        self._convert_values(element, attributes)
        self._convert_display(element, attributes)
        return attributes

    def _copy_original(self, original: str, table: Element) -> dict[str, Any]:
        reference, _, name = original.rpartition(".")
        mixin_name = reference.removeprefix("//").replace("#instance", "#hcd")
        for columns in (MIXIN_COLUMNS.get(mixin_name, {}), MIXIN_COLUMNS["ssap#hcd"]):
            if reference.startswith("//") and name in columns:
                return _list_attributes(columns[name])
        column, source_table = self._find_original(original, table)
        return {} if column is None else self.convert_column(column, source_table)

    def _find_original(self, original: str, table: Element) -> tuple[Element | None, Element]:
        """Find the column of which a column is a copy, and its table."""
        reference, _, name = original.rpartition(".")
        source_table = self._find_table(reference or table.get_value("namePath"))
        if source_table is None or source_table is table:
            return None, table
        columns = (each for each in source_table.list_children("column") if each.get_value("name") == name)
        return next(columns, None), source_table

    def _find_null_literal(self, element: Element, table: Element) -> str:
        """Find the text that stands for a missing value of a column, or of the column of which it is a copy."""
        values = element.find_child("values")
        if values is not None:
            return values.get_value("nullLiteral")
        column, source_table = self._find_original(element.get_value("original"), table)
        return "" if column is None else self._find_null_literal(column, source_table)

    def _convert_type(self, text: str, element: Element) -> str:
        match = re.fullmatch(r"\s*([a-z ]+?)\s*(?:\(\d+\))?\s*(?:\[(\d*)\])?\s*", text.lower())
        base = "" if match is None else match[1]
        if base in {"text", "unicode", "char", "varchar", "raw", "file", "unicodechar"}:
            return "string"
        column_type = TYPE_WORDS.get(base)
        if match is None or column_type is None:
            self._report.add_decision(element, f"the type {text!r} became string")
            return "string"
        if match[2] is not None:
            return f"{column_type}[{match[2] or '*'}]"
        return column_type

    def _convert_values(self, element: Element, attributes: dict[str, Any]) -> None:
        values = element.find_child("values")
        if values is None:
            return
        null = values.get_value("nullLiteral")
        if null and re.fullmatch(r"-?\d+", null) and attributes.get("type", "").startswith("int"):
            attributes["null"] = int(null)
        for name, key in (("min", "minimum"), ("max", "maximum")):
            limit = values.get_value(name)
            if re.fullmatch(r"-?\d+(\.\d+)?", limit) and attributes.get("type") != "string":
                attributes[key] = float(limit) if "." in limit else int(limit)
        if values.list_children("option") or values.get_value("fromdb"):
            self._report.add_omission(values, "lists of values: forms of Hven offer the values that are in the table")

    def _convert_display(self, element: Element, attributes: dict[str, Any]) -> None:
        hint = dict(part.strip().partition("=")[::2] for part in element.get_value("displayHint").split(",") if part)
        digits = hint.get("sf", "")
        if hint.get("type") in DISPLAY_WORDS and attributes.get("type") != "string":
            attributes["display"] = DISPLAY_WORDS[hint["type"]]
        elif digits.isdigit() and attributes.get("type", "").startswith("float"):
            attributes["display"] = f".{digits}f"
        elif hint.get("type"):
            self._report.add_omission(element, f"displayHint type={hint['type']}: pages choose the form themselves")


def _list_attributes(facts: ColumnFacts) -> dict[str, Any]:
    """List the attributes of a column of a mixin that have a value."""
    names = ("type", "unit", "ucd", "description")
    return {name: value for name, value in zip(names, facts, strict=True) if value}


def find_epn_mixin(table: Element) -> Element | None:
    """Find the mixin that gives a table the columns of EPN-TAP 2."""
    for mixin in table.list_children("mixin"):
        if mixin.text.startswith("//epntap2#"):
            return mixin
    return None


def is_epn_table(table: Element, columns: Mapping[str, Any]) -> bool:
    """Return whether a table is one of EPN-TAP 2, by its mixin or by its columns."""
    return find_epn_mixin(table) is not None or has_epn_columns(columns)


def has_epn_columns(columns: Mapping[str, Any]) -> bool:
    """Return whether a table has the columns by which tables of EPN-TAP 2 are recognised."""
    return {name.lower() for name in columns} >= EPN_TAP_MARKERS


def list_position_columns(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List the columns with the main right ascension and declination, by their UCDs; empty: one of them is missing."""
    names: dict[str, str] = {}
    for name, attributes in columns.items():
        names.setdefault(str(attributes.get("ucd", "")).lower(), name)
    position = [names.get(f"pos.eq.{axis};meta.main", "") for axis in ("ra", "dec")]
    return position if all(position) else []


def _is_same_unit(unit: str, other_unit: str) -> bool:
    """Return whether two units differ in their spelling at most."""
    normal_unit = units.normalize_unit(unit)
    is_convertible = units.are_units_convertible(normal_unit, other_unit)
    return is_convertible and units.compute_unit_factor(normal_unit, other_unit) == 1


def find_unit_differences(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Find columns of EPN-TAP that have another unit than the standard, with a sentence for each.

    An ingest converts the values of sources that state a unit, and keeps others.

    Parameters
    ----------
    columns
        Attributes of columns by their names.
    """
    standard_units = map_standard_column_units(EPN_TAP_STANDARD)
    return [
        f"{name} has the unit {attributes['unit']}, and {standard_units[name.lower()]} in EPN-TAP 2.0: check some "
        "values, because Hven converts only those of sources that state units (TAP, VOTable, FITS)"
        for name, attributes in columns.items()
        if attributes.get("unit")
        and name.lower() in standard_units
        and not _is_same_unit(attributes["unit"], standard_units[name.lower()])
    ]


def apply_epn_standard(
    table: Element, columns: dict[str, dict[str, Any]], used_names: set[str], report: MigrationReport
) -> dict[str, Any]:
    """Replace columns of EPN-TAP by the standard.

    Parameters
    ----------
    table
        The table.
    columns
        Its columns; those of the standard are removed.
    used_names
        Columns to which the rowmaker gives values.
    report
        Where it notes what it did.

    Returns
    -------
    keys
        Keys of the table.
    """
    mixin = find_epn_mixin(table)
    frame = ""
    optional_names: set[str] = set()
    if mixin is not None:
        frame = mixin.get_value("spatial_frame_type")
        optional_names = set(mixin.get_value("optional_columns").lower().replace(",", " ").split())
        if "localfile" in mixin.text:
            optional_names |= ACCESS_COLUMNS
    for text in find_unit_differences(columns):
        report.add_decision(table, text)
    for name in sorted(optional_names - map_standard_column_optionality(EPN_TAP_STANDARD).keys()):
        report.add_decision(mixin, f"the optional column {name} is none of EPN-TAP 2.0: describe it under `columns`")
    keys = replace_epn_columns(columns, optional_names | used_names, frame)
    report.add_result(mixin or table, f"{table.get_value('id')}: {EPN_TAP_STANDARD} with {len(columns)} own columns")
    return keys


def replace_epn_columns(
    columns: dict[str, dict[str, Any]], optional_names: Collection[str], frame: str
) -> dict[str, Any]:
    """Replace columns of EPN-TAP by the standard.

    Parameters
    ----------
    columns
        Columns of the table; those of the standard are removed.
    optional_names
        Columns of the standard that the table has beside its own, in lower case.
    frame
        Frame of its coordinates; empty: none is stated.

    Returns
    -------
    keys
        Keys of the table.
    """
    standard_columns = map_standard_column_optionality(EPN_TAP_STANDARD)
    names = {*optional_names, *(name.lower() for name in columns)}
    for name in [name for name in columns if name.lower() in standard_columns]:
        del columns[name]
    optional = [name for name, is_optional in standard_columns.items() if is_optional and name in names]
    if not ACCESS_COLUMNS.isdisjoint(optional):
        optional = ["access", *(name for name in optional if name not in ACCESS_COLUMNS)]
    keys = {"standard": EPN_TAP_STANDARD, "optional": optional, "frame": frame.lower()}
    return {key: value for key, value in keys.items() if value}

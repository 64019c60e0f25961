"""Draft collections from ERDDAP's ``datasets.xml``: ``hven new NAME --from datasets.xml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.plugins.migration.document_parts import (
    add_table,
    choose_name,
    create_builders,
    find_type,
    keep_jdbc_address,
    read_head,
    set_value,
)
from hven.plugins.migration.resource_xml import Element, read_xml

if TYPE_CHECKING:
    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

_SIGNATURE_PATTERN = re.compile(rb"<erddapDatasets\b|<dataset\s[^>]*\btype\s*=\s*[\"']EDD")
_TIME_PATTERN = re.compile(r"(seconds|minutes|hours|days)\s+since\s+1970-0?1-0?1", re.IGNORECASE)
_NUMBER_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
SECONDS_OF_UNIT = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
DATABASE_TYPE = "EDDTableFromDatabase"
TEXT_TYPES = ("EDDTableFromAsciiFiles", "EDDTableFromColumnarAsciiFiles", "EDDTableFromAsciiServiceNOS")
# data sets of files that say the types of their columns, and the kind of source that reads them
SOURCE_KINDS = {
    **dict.fromkeys(("EDDTableFromNcFiles", "EDDTableFromMultidimNcFiles", "EDDTableFromNcCFFiles"), "product"),
    "EDDTableFromParquetFiles": "parquet",
}
SEPARATORS = {"\\t": "tab", "\t": "tab", ",": "comma", ";": "semicolon", " ": "whitespace", "|": "pipe"}
# units of UDUNITS that VOUnits writes in another way
UNIT_WORDS = {
    **dict.fromkeys(("degrees_north", "degrees_east", "degree_north", "degree_east", "degrees", "degree"), "deg"),
    **dict.fromkeys(("degree_C", "degrees_C", "degree_Celsius", "Celsius", "deg_C"), "K"),
    **dict.fromkeys(("meters", "meter", "metres"), "m"),
    **dict.fromkeys(("seconds", "second"), "s"),
    **dict.fromkeys(("m s-1", "meters/second"), "m.s-1"),
    **dict.fromkeys(("1", "count", "none", "unitless"), ""),
    "percent": "%",
}
# elements of a data set that are read, or that say how ERDDAP keeps it
DATASET_KEYS = {
    *("sourceUrl", "driverName", "connectionProperty", "catalogName", "schemaName", "tableName", "addAttributes"),
    *("dataVariable", "axisVariable", "fileDir", "fileNameRegex", "recursive", "pathRegex", "charset"),
    *("accessibleTo", "columnNamesRow", "firstDataRow", "columnSeparator", "reloadEveryNMinutes", "orderBy"),
    *("updateEveryNMillis", "fileTableInMemory", "metadataFrom", "standardizeWhat", "sortedColumnSourceName"),
    *("sortFilesBySourceNames", "defaultDataQuery", "defaultGraphQuery", "iso19115File", "fgdcFile"),
    "sourceNeedsExpandedFP_EQ",
}
OMITTED_ATTRIBUTES = ("ioos_category", "colorBar", "cf_role", "source_name", "valid_", "actual_range", "_ChunkSizes")
MAX_SUBJECTS = 20


def is_collection_document(path: Path) -> bool:
    """Return whether a file describes data sets of ERDDAP.

    Parameters
    ----------
    path
        Path of the file.
    """
    return path.suffix == ".xml" and _SIGNATURE_PATTERN.search(read_head(path)) is not None


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collections that a file describes: one for each data set, or one for all of them.

    Parameters
    ----------
    request
        The document, and the name of the collection.

    Returns
    -------
    drafts
        The collections.

    Raises
    ------
    SourceError
        The file cannot be read.
    ConflictError
        A file exists that would be written.
    """
    root = read_xml(request.path, request.path.name, ("erddapDatasets", "dataset"))
    elements = [root] if root.tag == "dataset" else root.list_children("dataset")
    datasets = {element.get_value("datasetID") or f"dataset_{element.line}": element for element in elements}
    drafts: list[CollectionDraft] = []
    for builder, names in create_builders(request, datasets, "ERDDAP", "dataset").values():
        for element in root.elements if root.tag != "dataset" else ():
            if element.tag != "dataset":
                builder.report.add_omission(element, f"{element.tag}: a setting of the whole server")
        for name in names:
            _DatasetConverter(builder, request, datasets[name], name).convert_dataset(is_only=len(names) == 1)
        drafts.append(builder.build_draft([request.path.name]))
    return drafts


def _list_attributes(element: Element) -> dict[str, str]:
    found = element.find_child("addAttributes")
    return {} if found is None else {att.get_value("name"): att.text for att in found.list_children("att") if att.text}


class _DatasetConverter:
    """Converts one data set to a table."""

    def __init__(self, builder: DraftBuilder, request: DocumentDraftRequest, dataset: Element, name: str) -> None:
        self._builder = builder
        self._report = builder.report
        self._request = request
        self._dataset = dataset
        self._name = name
        self._type = dataset.attributes.get("type", "")
        self._is_text = self._type in TEXT_TYPES

    def convert_dataset(self, *, is_only: bool) -> None:
        """Convert the data set."""
        dataset = self._dataset
        for element in dataset.elements:
            if element.tag == "dataset":
                self._report.add_decision(element, f"{self._type} combines other data sets: describe these instead")
            elif element.tag not in DATASET_KEYS:
                self._report.add_omission(element, f"{element.tag} has no counterpart")
        if dataset.attributes.get("active", "true").lower() == "false":
            self._report.add_decision(dataset, f"{self._name} is not active: remove its table if that is right")
        source = self._convert_source()
        if source is None:
            return
        keys: dict[str, Any] = {}
        metadata = _list_attributes(dataset)
        set_value(keys, "title", metadata.get("title", ""))
        set_value(keys, "description", metadata.get("summary", ""))
        if is_only:
            self._convert_metadata(metadata)
        elif metadata.keys() - {"title", "summary"}:
            self._report.add_omission(dataset, "keywords, institution and licence: a collection has one of each")
        readers = dataset.get_value("accessibleTo")
        if readers:
            keys["access"] = "private"
            self._report.add_decision(dataset, f"{self._name} is accessible to {readers}: it is private; grant access")
        keys["source"] = source
        keys |= self._convert_variables(source)
        minutes = dataset.get_value("reloadEveryNMinutes")
        if minutes.isdigit() and int(minutes):
            self._builder.draft.setdefault("sync", {"every": f"{int(minutes)} min"})
        add_table(self._builder, self._name, keys, dataset, f"the data set {self._name} ({self._type})")

    def _convert_source(self) -> dict[str, Any] | None:
        dataset = self._dataset
        if self._type == DATABASE_TYPE:
            properties = {item.get_value("name"): item.text for item in dataset.list_children("connectionProperty")}
            address = (dataset.get_value("sourceUrl"), properties.get("user", ""), properties.get("password", ""))
            secret = keep_jdbc_address(
                self._builder, self._request, address, dataset.find_child("sourceUrl") or dataset
            )
            parts = [dataset.get_value(name).strip('"') for name in ("schemaName", "tableName")]
            return {"kind": "sql", "url": secret, "table": ".".join(part for part in parts if part)}
        if self._is_text:
            source: dict[str, Any] = {"kind": "csv", "files": self._find_files()}
            separator = dataset.get_value("columnSeparator") or dataset.attributes.get("columnSeparator", "")
            if separator:
                source["delimiter"] = SEPARATORS.get(separator, separator)
            skipped = dataset.get_value("columnNamesRow")
            if skipped.isdigit() and int(skipped) > 1:
                source["skip"] = int(skipped) - 1
            set_value(source, "encoding", dataset.get_value("charset").lower())
            return source
        if self._type in SOURCE_KINDS:
            return {"kind": SOURCE_KINDS[self._type], "files": self._find_files()}
        if self._type.startswith("EDDGrid"):
            reason = "a grid is not a table: publish its files with `files`, and rasters of bodies with `layers`"
        else:
            remote_address = dataset.get_value("sourceUrl")
            reason = f"Hven has no source for it: draft one with `hven new NAME --from {remote_address or 'ADDRESS'}`"
        self._report.add_decision(dataset, f"{self._name} ({self._type}): {reason}")
        return None

    def _find_files(self) -> str:
        """Find the pattern of the files: extension and folder, because regular expressions are no patterns."""
        folder = self._dataset.get_value("fileDir") or "."
        expression = self._dataset.get_value("fileNameRegex") or ".*"
        pattern = re.sub(r"\[[^\]]*\][+*]?|\\d[+*]?(\{\d+\})?|\.[+*]\??|\([^()]*\)[+*?]?", "*", expression)
        pattern = re.sub(r"\*+", "*", pattern.replace("\\", "").strip("^$"))
        if pattern != expression:
            self._report.add_decision(
                self._dataset.find_child("fileNameRegex"), f"fileNameRegex {expression} became the pattern {pattern}"
            )
        if self._dataset.is_true("recursive"):
            pattern = f"**/{pattern}"
        path = self._request.path.parent / folder / pattern
        if self._dataset.get_value("pathRegex") not in {"", ".*"}:
            self._report.add_decision(self._dataset, "pathRegex: check which folders `files` means")
        return self._builder.format_path(path)

    def _convert_metadata(self, metadata: dict[str, str]) -> None:
        draft = self._builder.draft
        set_value(draft, "title", metadata.get("title", ""))
        set_value(draft, "description", metadata.get("summary", ""))
        subjects = [word.strip() for word in metadata.get("keywords", "").split(",") if word.strip()]
        if subjects:
            draft["subjects"] = subjects[:MAX_SUBJECTS]
        creator = metadata.get("creator_name") or metadata.get("institution")
        if creator:
            draft["creators"] = [creator]
        set_value(draft, "publisher", metadata.get("publisher_name", ""))
        if metadata.get("infoUrl", "").startswith("http"):
            draft["reference_url"] = metadata["infoUrl"]
        if metadata.get("license") and metadata["license"] != "[standard]":
            set_value(draft, "acknowledgement", metadata["license"])
            self._report.add_decision(self._dataset, "license is free text, which became `acknowledgement`")

    def _convert_variables(self, source: dict[str, Any]) -> dict[str, Any]:
        columns: dict[str, dict[str, Any]] = {}
        sections: dict[str, dict[str, Any]] = {"set": {}, "map": {}}
        text_names: list[str] = []
        for variable in self._dataset.list_children("dataVariable"):
            source_name = variable.get_value("sourceName")
            wanted_name = variable.get_value("destinationName")
            name = choose_name(wanted_name or source_name, "column")
            attributes = _list_attributes(variable)
            columns[name] = self._convert_column(variable, attributes)
            quoted = f'"{source_name}"'
            units = attributes.get("units", "")
            missing = attributes.get("missing_value") or attributes.get("_FillValue") or "NaN"
            if missing != "NaN" and self._type == DATABASE_TYPE:
                quoted = f"NULLIF({quoted}, {missing})"
            elif missing != "NaN":
                source.setdefault("null", {})[source_name] = [missing]
            quoted = self._unpack_value(variable, attributes, quoted, columns[name])
            if wanted_name and name.lower() != wanted_name.lower():
                self._report.add_decision(variable, f"{wanted_name} is no name in ADQL: the column is {name}")
            match = _TIME_PATTERN.match(units)
            if source_name.startswith("="):
                self._convert_constant(variable, name, source_name[1:].strip(), sections)
            elif columns[name]["type"] == "timestamp" and match and self._type != DATABASE_TYPE:
                factor = SECONDS_OF_UNIT[match[1].lower()]
                sections["map"][name] = f"from_unix({quoted}{f' * {factor}' if factor > 1 else ''})"
            elif columns[name]["type"] == "timestamp" and self._is_text:
                sections["map"][name] = f"parse_time({quoted})"
                text_names.append(source_name)
            elif UNIT_WORDS.get(units) == "K":
                sections["map"][name] = f"{quoted} + 273.15"
                self._report.add_decision(variable, f"{name} is in K instead of {units}: 273.15 is added")
            elif quoted != f'"{name}"':
                sections["map"][name] = quoted
        if text_names:
            source["types"] = dict.fromkeys(text_names, "string")
        return {"columns": columns, **{key: value for key, value in sections.items() if value}}

    def _unpack_value(self, variable: Element, attributes: dict[str, str], value: str, column: dict[str, Any]) -> str:
        """Write how the value of a packed variable is computed."""
        if not attributes.keys() & {"scale_factor", "add_offset"}:
            return value
        scale, offset = attributes.get("scale_factor", "1"), attributes.get("add_offset", "0")
        source_name = variable.get_value("sourceName")
        numbers = [float(text) for text in (scale, offset) if _NUMBER_PATTERN.fullmatch(text)]
        if len(numbers) < 2 or source_name.startswith("="):
            self._report.add_decision(
                variable, f"{source_name} has scale_factor {scale} and add_offset {offset}: write them as `map`"
            )
            return value
        if column["type"] != "timestamp":
            column["type"] = "float64"
        self._report.add_decision(
            variable,
            f"{source_name} is multiplied by {scale}, and {offset} is added: check that the files do not say so too",
        )
        return f"({value} * {numbers[0]!r} + {numbers[1]!r})"

    def _convert_constant(self, variable: Element, name: str, value: str, sections: dict[str, dict[str, Any]]) -> None:
        try:
            sections["set"][name] = value[1:-1] if value[:1] in {'"', "'"} else float(value)
        except ValueError:
            self._report.add_decision(variable, f"{name} = {value} is a script: write it as `map`")

    def _convert_column(self, variable: Element, attributes: dict[str, str]) -> dict[str, Any]:
        column: dict[str, Any] = {"type": find_type(variable.get_value("dataType"))}
        units = attributes.get("units", "")
        if "since" in units or attributes.get("standard_name") == "time" or re.search(r"yyyy|%Y", units):
            column["type"] = "timestamp"
        else:
            set_value(column, "unit", UNIT_WORDS.get(units, units.replace(" ", ".")))
        set_value(column, "label", attributes.get("long_name", ""))
        set_value(
            column, "description", attributes.get("comment") or attributes.get("standard_name", "").replace("_", " ")
        )
        for name in attributes:
            if name.startswith(OMITTED_ATTRIBUTES):
                self._report.add_omission(variable, f"{name}: for graphs and forms of ERDDAP")
        return column

"""Draft collections from ERDDAP's ``datasets.xml``: ``hven new NAME --from datasets.xml``."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.units import normalize_unit
from hven.plugins.migration.document_parts import (
    add_table,
    choose_name,
    create_builders,
    find_type,
    keep_jdbc_address,
    read_head,
    set_value,
)
from hven.plugins.migration.python_expressions import quote_text
from hven.plugins.migration.resource_xml import Element, read_xml

if TYPE_CHECKING:
    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

_SIGNATURE_PATTERN = re.compile(rb"<erddapDatasets\b|<dataset\s[^>]*\btype\s*=\s*[\"']EDD")
# units of times such as `days since 1950-01-01 12:00:00 +1:00`; without an offset, ERDDAP assumes UTC
_TIME_PATTERN = re.compile(
    r"""(?P<unit>milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|hours?|hrs?|h|days?|d)
    \s+since\s+(?P<year>\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})
    (?:(?:T|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.0*)?)?)?
    \s*(?:Z|UTC|GMT|(?P<sign>[-+])(?P<offset_hours>\d{1,2}):?(?P<offset_minutes>\d{2})?)?""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# seconds of the units of `_TIME_PATTERN`, by their beginnings
SECONDS_OF_UNIT = {"mil": 0.001, "ms": 0.001, "mi": 60, "h": 3600, "d": 86400, "s": 1}
FIRST_GREGORIAN_YEAR = 1583  # programs count the days before the reform of the calendar in different ways
# letters of Java's formats of times -> how often they stand at least, and directives of strptime
JAVA_LETTERS = {
    **dict.fromkeys("yuY", ((3, "%Y"), (2, "%y"), (1, "%Y"))),
    **dict.fromkeys("ML", ((4, "%B"), (3, "%b"), (1, "%m"))),
    **dict.fromkeys("ZXx", ((1, "%z"),)),
    "D": ((1, "%j"),),
    "d": ((1, "%d"),),
    "H": ((1, "%H"),),
    "h": ((1, "%I"),),
    "m": ((1, "%M"),),
    "s": ((1, "%S"),),
    "S": ((1, "%f"),),
    "a": ((1, "%p"),),
    "E": ((4, "%A"), (1, "%a")),
    "T": ((1, "T"),),  # ERDDAP takes it for a letter even without quotes
}
_JAVA_FORMAT_PATTERN = re.compile(r"'([^']*)'|([A-Za-z])\2*|.", re.DOTALL)
_ISO_FORMAT_PATTERN = re.compile(r"yyyy-MM-dd|\d{4}-\d\d-\d\d")  # parse_time reads these without a format
_REGEX_PART_PATTERN = re.compile(
    r"(?:\[[^\]]*\]|\\[dDwWsS]|\([^()]*\))(?:[+*?]|\{[\d,]*\})?\??|\.(?:[+*]|\{[\d,]*\})\??"
)
DATABASE_TYPE = "EDDTableFromDatabase"
COLUMNAR_TYPE = "EDDTableFromColumnarAsciiFiles"
TEXT_TYPES = ("EDDTableFromAsciiFiles", COLUMNAR_TYPE, "EDDTableFromAsciiServiceNOS")
NETCDF_OPTIONS = {"kind": "product", "mode": "table"}
# data sets of files that say the types of their columns, and the source that reads them
SOURCE_OPTIONS = {
    **dict.fromkeys(("EDDTableFromNcFiles", "EDDTableFromMultidimNcFiles", "EDDTableFromNcCFFiles"), NETCDF_OPTIONS),
    "EDDTableFromParquetFiles": {"kind": "parquet"},
}
KINDS_WITH_NULLS = ("csv", "fixed", "product")  # sources with the option `null`
SEPARATORS = {"\\t": "tab", "\t": "tab", ",": "comma", ";": "semicolon", " ": "whitespace", "|": "pipe"}
# units of UDUNITS that `normalize_unit` does not know
UNIT_WORDS = {
    **dict.fromkeys(("degrees_north", "degrees_east", "degree_north", "degree_east"), "deg"),
    **dict.fromkeys(("degree_C", "degrees_C", "degree_Celsius", "Celsius", "deg_C"), "K"),
    **dict.fromkeys(("1", "count", "none", "unitless"), ""),
}
UCDS_BY_STANDARD_NAME = {  # by the names of CF
    "latitude": "pos.earth.lat",
    "longitude": "pos.earth.lon",
    "time": "time.epoch",
    **dict.fromkeys(("altitude", "depth"), "pos.earth.altitude"),
    **dict.fromkeys(("air_temperature", "sea_water_temperature", "sea_surface_temperature"), "phys.temperature"),
    "air_pressure": "phys.pressure",
    "wind_speed": "phys.veloc",
    "station_id": "meta.id",
}
# names of sources that are no columns of files
FILE_FACT_PREFIXES = ("***", "global:", "variable:")
# elements of a data set that are read, or that say how ERDDAP keeps it
DATASET_KEYS = {
    *("sourceUrl", "driverName", "connectionProperty", "catalogName", "schemaName", "tableName", "addAttributes"),
    *("dataVariable", "axisVariable", "fileDir", "fileNameRegex", "recursive", "pathRegex", "charset"),
    *("accessibleTo", "columnNamesRow", "firstDataRow", "columnSeparator", "reloadEveryNMinutes", "orderBy"),
    *("updateEveryNMillis", "fileTableInMemory", "metadataFrom", "standardizeWhat", "sortedColumnSourceName"),
    *("sortFilesBySourceNames", "defaultDataQuery", "defaultGraphQuery", "iso19115File", "fgdcFile"),
    "sourceNeedsExpandedFP_EQ",
}
COLUMNAR_ATTRIBUTES = ("startColumn", "stopColumn")
UTC_ZONES = ("", "UTC", "GMT", "Zulu", "Z")
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


def _find_unix_time(units: str) -> tuple[float, int] | None:
    """Find the seconds of a unit of times, and the seconds from 1970 to its zero."""
    match = _TIME_PATTERN.fullmatch(units.strip())
    if match is None or int(match["year"]) < FIRST_GREGORIAN_YEAR:
        return None
    fields = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    offset = dt.timedelta(hours=int(match["offset_hours"] or 0), minutes=int(match["offset_minutes"] or 0))
    try:
        zone = dt.timezone(-offset if match["sign"] == "-" else offset)
        zero = dt.datetime(*fields, tzinfo=zone)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    unit = match["unit"].lower()
    seconds = next(value for beginning, value in SECONDS_OF_UNIT.items() if unit.startswith(beginning))
    return seconds, int(zero.timestamp())


def _is_time_format(units: str) -> bool:
    return re.search(r"yy|%[Yy]|\d{4}-\d\d-\d\dT", units) is not None and "since" not in units


def _list_attributes(element: Element) -> dict[str, str]:
    """List the attributes that are set; ``null`` removes an attribute of the files."""
    found = element.find_child("addAttributes")
    attributes = () if found is None else found.list_children("att")
    return {att.get_value("name"): att.text for att in attributes if att.text not in {"", "null"}}


def _convert_time_format(units: str) -> str:
    """Convert Java's format of times to one of strptime; empty: there is none."""
    if "%" in units:
        return units
    parts: list[str] = []
    for match in _JAVA_FORMAT_PATTERN.finditer(units):
        letter = match[2]
        if letter is None:
            parts.append(match[0] if match[1] is None else match[1] or "'")
            continue
        directives = JAVA_LETTERS.get(letter, ())
        parts.append(next((text for count, text in directives if len(match[0]) >= count), ""))
        if not parts[-1]:
            return ""
    return "".join(parts)


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
            self._report.add_omission(dataset, f"{self._name} is not active")
            return
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
            return {"kind": "sql", "url": secret, "table": ".".join(filter(None, parts))}
        if self._type == COLUMNAR_TYPE:
            first_row = dataset.get_value("firstDataRow") or "2"
            skip = int(first_row) - 1 if first_row.isdigit() else 0
            source: dict[str, Any] = {"kind": "fixed", "files": self._find_files(), "fields": {}}
            source |= {"skip": skip} if skip > 0 else {}
            set_value(source, "encoding", dataset.get_value("charset").lower())
            return source
        if self._is_text:
            source = {"kind": "csv", "files": self._find_files()}
            separator = dataset.get_value("columnSeparator") or dataset.attributes.get("columnSeparator", "")
            if separator:
                source["delimiter"] = SEPARATORS.get(separator, separator)
            self._convert_first_rows(source)
            set_value(source, "encoding", dataset.get_value("charset").lower())
            return source
        if self._type in SOURCE_OPTIONS:
            return SOURCE_OPTIONS[self._type] | {"files": self._find_files()}
        if self._type.startswith("EDDGrid"):
            reason = "a grid is not a table: publish its files with `files`, and rasters of bodies with `layers`"
        else:
            remote_address = dataset.get_value("sourceUrl") or "ADDRESS"
            reason = f"Hven has no source for it: draft one with `hven new NAME --from {remote_address}`"
        self._report.add_decision(dataset, f"{self._name} ({self._type}): {reason}")
        return None

    def _convert_first_rows(self, source: dict[str, Any]) -> None:
        """Write how many rows are above the names, and between the names and the data."""
        names_row, first_row = map(self._dataset.get_value, ("columnNamesRow", "firstDataRow"))
        if not names_row.isdigit():
            return
        if int(names_row) > 1:
            source["skip"] = int(names_row) - 1
        count = int(first_row) - int(names_row) - 1 if first_row.isdigit() else 0
        if count == 1:
            source["units"] = True
        elif count > 1:
            self._report.add_decision(
                self._dataset.find_child("firstDataRow"),
                f"the data begin at row {first_row}: remove the rows between the names and the data, or skip them by "
                "`skip` with `names`",
            )

    def _find_files(self) -> str:
        """Find the pattern of the files: extension and folder, because regular expressions are no patterns."""
        folder = self._dataset.get_value("fileDir") or "."
        element = self._dataset.find_child("fileNameRegex")
        expression = element.text if element else ".*"
        pattern = _REGEX_PART_PATTERN.sub("*", re.sub(r"^\(\?\w+\)", "", expression))
        pattern = re.sub(r"\*+", "*", pattern.replace("\\", "").strip("^$"))
        if element and pattern != expression:
            self._report.add_decision(element, f"fileNameRegex {expression} became the pattern {pattern}")
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
        if metadata.get("license", "[standard]") != "[standard]":
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
            if source_name.startswith(FILE_FACT_PREFIXES):
                self._report.add_decision(
                    variable, f"{name} is {source_name}: write facts of files as `text`, by {{file.name}} and the like"
                )
                continue
            attributes = _list_attributes(variable)
            columns[name] = self._convert_column(variable, attributes)
            quoted = self._convert_missing_values(source, source_name, attributes, columns[name]["type"])
            units = attributes.get("units", "")
            quoted = self._unpack_value(variable, attributes, quoted, columns[name])
            if wanted_name and name.lower() != wanted_name.lower():
                self._report.add_decision(variable, f"{wanted_name} is no name in ADQL: the column is {name}")
            if source_name.startswith("="):
                self._convert_constant(variable, name, source_name[1:].strip(), sections)
            elif columns[name]["type"] == "timestamp" and " since " in units:
                expression = self._convert_time(variable, source_name, quoted, units)
                if expression:
                    sections["map"][name] = expression
            elif columns[name]["type"] == "timestamp" and (self._is_text or _is_time_format(units)):
                sections["map"][name] = self._convert_time_text(variable, quoted, units)
                text_names.append(source_name)
            elif UNIT_WORDS.get(units) == "K":
                sections["map"][name] = f"without_unit({quoted}) + 273.15"
                self._report.add_decision(variable, f"{name} is in K instead of {units}: 273.15 is added")
            elif quoted != f'"{name}"':
                sections["map"][name] = quoted
            if self._type == COLUMNAR_TYPE and not source_name.startswith("="):
                self._add_field(variable, source, attributes, is_text=source_name in text_names)
        if text_names and source["kind"] == "csv":
            source["types"] = dict.fromkeys(text_names, "string")
        return {"columns": columns, **{key: value for key, value in sections.items() if value}}

    def _add_field(
        self, variable: Element, source: dict[str, Any], attributes: dict[str, str], *, is_text: bool
    ) -> None:
        """Add the bytes of a column of fixed width, which ERDDAP counts from 0 to the one behind the last."""
        start, stop = (attributes.get(name, "") for name in COLUMNAR_ATTRIBUTES)
        name = variable.get_value("sourceName")
        if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
            self._report.add_decision(variable, f"{name} has no startColumn and stopColumn: write its `fields`")
            return
        positions = f"{int(start) + 1}-{stop}"
        is_text = is_text or find_type(variable.get_value("dataType")) == "string"
        source["fields"][name] = {"bytes": positions, "type": "string"} if is_text else positions

    def _convert_time_text(self, variable: Element, value: str, units: str) -> str:
        """Write how texts become times."""
        zone = _list_attributes(variable).get("time_zone", "")
        if zone not in UTC_ZONES:
            self._report.add_decision(variable, f"the times are those of the zone {zone}: convert them to UTC in `map`")
        if not _is_time_format(units) or _ISO_FORMAT_PATTERN.match(units):
            return f"parse_time({value})"
        time_format = _convert_time_format(units)
        if not time_format:
            self._report.add_decision(variable, f"the format of times {units!r} is not known: write it as strptime's")
            return f"parse_time({value})"
        self._report.add_decision(variable, f"the format of times {units!r} became {time_format!r}: check some times")
        return f"parse_time({value}, {quote_text(time_format)})"

    def _convert_missing_values(
        self, source: dict[str, Any], source_name: str, attributes: dict[str, str], column_type: str
    ) -> str:
        """Write the values that mark missing values to the source or, if it cannot know them, to the expression."""
        quoted = f'"{source_name}"'
        stated = (attributes.get(name, "NaN") for name in ("missing_value", "_FillValue"))
        missing_values = [value for value in dict.fromkeys(stated) if value != "NaN"]
        if not missing_values or source_name.startswith("="):
            return quoted
        if source["kind"] in KINDS_WITH_NULLS:
            source.setdefault("null", {})[source_name] = missing_values
            return quoted
        for value in missing_values:
            literal = value if column_type != "string" and _NUMBER_PATTERN.fullmatch(value) else quote_text(value)
            quoted = f"NULLIF({quoted}, {literal})"
        return quoted

    def _convert_time(self, variable: Element, source_name: str, value: str, units: str) -> str:
        """Write how numbers that count from a time become times; empty: the source has times, or it is a decision."""
        found = _find_unix_time(units)
        seconds, zero = found or (0.0, 0)
        if self._type == DATABASE_TYPE and seconds == 1 and not zero:
            return "" if value == f'"{source_name}"' else value  # ERDDAP itself converts times of databases
        if SOURCE_OPTIONS.get(self._type) is NETCDF_OPTIONS:
            self._report.add_decision(variable, f"{source_name} is an MJD if the files say its unit, as netCDF should")
            return f"from_mjd(without_unit({value}))"
        if found is None or self._type == DATABASE_TYPE:
            self._report.add_decision(variable, f"{source_name} has the unit '{units}': write its time as `map`")
            return ""
        expression = f"without_unit({value})"
        if seconds != 1:
            expression += f" * {seconds}"
        if zero:
            expression += f" {'-' if zero < 0 else '+'} {abs(zero)}"
        return f"from_unix({expression})"

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
        return f"(without_unit({value}) * {numbers[0]!r} + {numbers[1]!r})"

    def _convert_constant(self, variable: Element, name: str, value: str, sections: dict[str, dict[str, Any]]) -> None:
        try:
            if value.lower() == "nan":
                sections["map"][name] = "NULL"
            elif value[:1] in {'"', "'"}:
                sections["set"][name] = value[1:-1]
            elif value.lstrip("+-").isdigit():
                sections["set"][name] = int(value)
            else:
                sections["set"][name] = float(value)
        except ValueError:
            self._report.add_decision(variable, f"{name} = {value} is a script: write it as `map`")

    def _convert_column(self, variable: Element, attributes: dict[str, str]) -> dict[str, Any]:
        column: dict[str, Any] = {"type": find_type(variable.get_value("dataType"))}
        units = attributes.get("units", "")
        if "since" in units or attributes.get("standard_name") == "time" or _is_time_format(units):
            column["type"] = "timestamp"
        else:
            set_value(column, "unit", UNIT_WORDS.get(units, normalize_unit(units) or units))
        names = (attributes.get("standard_name", ""), variable.get_value("destinationName"))
        set_value(column, "ucd", next((ucd for name in names if (ucd := UCDS_BY_STANDARD_NAME.get(name))), ""))
        set_value(column, "label", attributes.get("long_name", ""))
        set_value(
            column, "description", attributes.get("comment") or attributes.get("standard_name", "").replace("_", " ")
        )
        for name in attributes:
            if name.startswith(OMITTED_ATTRIBUTES):
                self._report.add_omission(variable, f"{name}: for graphs and forms of ERDDAP")
        return column

"""ERDDAP: datasets.xml, the configuration of its data sets.

Those of tables in files and in databases are read from where they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.descriptor.api.table_descriptions import (
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
    name_matches_pattern,
)
from hven.model import units
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DESCRIPTION = TableDescriptionSignature(signature_pattern=rb"<erddapDatasets[\s>]")
ERDDAP_TYPES = {
    "boolean": "bool",
    "byte": "int16",
    "ubyte": "int16",
    "short": "int16",
    "ushort": "int32",
    "int": "int32",
    "uint": "int64",
    "long": "int64",
    "ulong": "float64",
    "float": "float32",
    "double": "float64",
    "char": "string",
    "string": "string",
}
FILE_DATASET_KINDS = {
    "EDDTableFromAsciiFiles": "csv",
    "EDDTableFromParquetFiles": "parquet",
    **dict.fromkeys(("EDDTableFromNcFiles", "EDDTableFromMultidimNcFiles", "EDDTableFromNcCFFiles"), "product"),
}
PRODUCT_SOURCE_KIND = "product"
DATABASE_DATASET_TYPE = "EDDTableFromDatabase"
# what is to be done with data sets that are no tables of files here
UNSUPPORTED_TYPE_REMEDIES = {
    "Grid": (
        "a grid is not a table: `kind: product` makes a row for each of its files or variables, and `files:` "
        "publishes them"
    ),
    "FromErddap": (
        "it is on another ERDDAP server; give `hven new` the .csvp or .parquet file from that server's tabledap"
    ),
    "FromDapSequence": "give `hven new` a text file from its server",
}
UDUNITS_ALIASES = {
    "degrees_north": "deg",
    "degree_north": "deg",
    "degrees_east": "deg",
    "degree_east": "deg",
    "degrees": "deg",
    "degree": "deg",
    "degree_c": "Celsius",
    "degrees_c": "Celsius",
    "celsius": "Celsius",
    "count": "count",
    "1": "",
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "days": "d",
    "meters": "m",
    "meter": "m",
}
UCDS_BY_STANDARD_NAME = {  # by the CF standard name
    "latitude": "pos.earth.lat",
    "longitude": "pos.earth.lon",
    "time": "time.epoch",
    "altitude": "pos.earth.altitude",
    "depth": "pos.earth.altitude",
    "air_temperature": "phys.temperature",
    "sea_water_temperature": "phys.temperature",
    "sea_surface_temperature": "phys.temperature",
    "air_pressure": "phys.pressure",
    "wind_speed": "phys.veloc",
    "station_id": "meta.id",
}
COLLECTION_KEYS_BY_ATTRIBUTE = {
    "license": "licence",
    "infoUrl": "reference_url",
    "publisher_name": "publisher",
    "institution": "publisher",
}
TIME_UNIT_PATTERN = re.compile(r"(\w+) since (.+)", re.IGNORECASE)
_UNIT_TERM_PATTERN = re.compile(r"([A-Za-z%]+)\^?(-?\d+)?")


def read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription:
    """Read the data sets that are tables in files or databases; the others are named in the notes.

    Raises
    ------
    SourceError
        It is no XML; none of its data sets can be read here, and why.
    """
    file_name = request.path.name
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True)
    try:
        root = etree.fromstring(request.read_document_file(), parser)
    except etree.XMLSyntaxError as error:
        raise SourceError(
            f"the file is not XML: {error.msg}", place=TextPlace(file=file_name, line=error.lineno)
        ) from error
    tables: list[DescribedTable] = []
    notes: list[str] = []
    datasets = [dataset for dataset in root.iter("dataset") if dataset.get("active", "true") != "false"]
    datasets = [
        dataset for dataset in datasets if name_matches_pattern(request.table or "*", str(dataset.get("datasetID")))
    ] or datasets
    for dataset in datasets:
        try:
            tables.append(_read_dataset_table(dataset, request))
        except SourceError as error:
            notes.append(f"{dataset.get('datasetID')} is left out: {error.message}")
    if datasets and not tables:
        raise SourceError(
            f"on this machine, Hven cannot read any of the {len(datasets)} data sets in the file ({notes[0]})",
            place=TextPlace(file=file_name),
            remedy=(
                "run `hven new` on the machine that has the directory in fileDir; on other machines, Hven can read "
                "only data sets from databases"
            ),
        )
    if len(datasets) == 1:
        attributes = _read_added_attributes(datasets[0])
    else:
        attributes = {}
    collection_keys: dict[str, Any] = {}
    for word, key in COLLECTION_KEYS_BY_ATTRIBUTE.items():
        if attributes.get(word):
            collection_keys.setdefault(
                key, attributes[word] if key != "licence" else " ".join(attributes[word].split())[:200]
            )
    if attributes.get("creator_name"):
        collection_keys["creators"] = [{"name": attributes["creator_name"]}]
    if attributes.get("keywords"):
        collection_keys["subjects"] = [
            word for dataset in attributes["keywords"].split(",") if (word := dataset.strip())
        ][:20]
    title = attributes.get("title")
    description = attributes.get("summary")
    return TableSetDescription(
        kind="configuration of ERDDAP",
        tables=tables,
        title=title,
        description=description,
        collection_keys=collection_keys,
        notes=notes,
    )


def _read_added_attributes(element: Any) -> Mapping[str, str]:
    """List the attributes that are added to a data set or variable."""
    return {
        str(attribute.get("name")): (attribute.text or "").strip()
        for part in element.findall("addAttributes")
        for attribute in part.findall("att")
    }


def _read_element_text(element: Any, name: str) -> str:
    return str(element.findtext(name) or "").strip()


def _read_dataset_table(dataset: Any, request: TableDescriptionRequest) -> DescribedTable:
    dataset_type = str(dataset.get("type"))
    name = str(dataset.get("datasetID"))
    attributes = _read_added_attributes(dataset)
    source_keys, notes = _build_source_options(dataset_type, dataset, request)
    columns: list[Column] = []
    names: dict[str, str] = {}
    constants: list[tuple[Column, str]] = []
    for variable in dataset.findall("dataVariable"):
        column = _read_variable_column(variable, source_keys["kind"])
        source = _read_element_text(variable, "sourceName")
        if source.startswith("="):  # a constant
            target = _read_element_text(variable, "destinationName") or column.name
            constants.append((column.copy_with(name=target), source[1:].strip().strip('"')))
        elif source.startswith(("***", "global:", "variable:")):
            notes.append(
                f"{_read_element_text(variable, 'destinationName') or source} is {source}: to publish facts about "
                f"files, use {{file.name}} and similar placeholders under `text`"
            )
        else:
            columns.append(column)
            names[source] = _read_element_text(variable, "destinationName") or source
    if not columns:
        raise SourceError("it has no dataVariable")
    title = attributes.get("title")
    description = attributes.get("summary")
    return DescribedTable(
        name=name,
        source=source_keys,
        columns=columns,
        names=names,
        title=title,
        description=description,
        constants=constants,
        notes=notes,
    )


def _build_source_options(
    dataset_type: str, dataset: Any, request: TableDescriptionRequest
) -> tuple[dict[str, Any], list[str]]:
    """Find the rows, and what the curator should know of that."""
    if dataset_type == DATABASE_DATASET_TYPE:
        secret = f"{request.name.upper()}_DB"
        place = ".".join(
            part
            for part in (_read_element_text(dataset, "schemaName"), _read_element_text(dataset, "tableName"))
            if part
        )  # a catalogName is the database itself
        if not place:
            raise SourceError("it does not specify a table")
        element_text = _read_element_text(dataset, "sourceUrl")
        address = re.sub(r"[?;].*|//[^/@]*@", "", element_text)
        note = (
            f"set the secret {secret} (in secrets.toml, or in the environment) to the address of the database: "
            f"{address or '(the file does not contain it)'}"
        )
        return {"kind": "sql", "url": f"${secret}", "table": place}, [note]
    if dataset_type not in FILE_DATASET_KINDS:
        reason = next((f"; {text}" for word, text in UNSUPPORTED_TYPE_REMEDIES.items() if word in dataset_type), "")
        raise SourceError(f"Hven does not read data sets of type {dataset_type}{reason}")
    folder = Path(_read_element_text(dataset, "fileDir"))
    if folder.is_absolute():
        directory = folder
    else:
        directory = request.path.parent / folder
    file_pattern = _read_element_text(dataset, "fileNameRegex") or ".*"
    try:
        matches_name = re.compile(file_pattern).fullmatch
    except re.error as error:
        raise SourceError(f"the fileNameRegex {file_pattern!r} is not a regular expression: {error}") from error
    is_recursive = _read_element_text(dataset, "recursive") == "true"
    matching_files = sorted(path for path in _walk_directory(directory, is_recursive) if matches_name(path.name))
    if not matching_files:
        raise SourceError(f"no file name in {directory} matches {file_pattern!r}")
    options: dict[str, Any] = {
        "kind": FILE_DATASET_KINDS[dataset_type],
        "files": _choose_file_pattern(directory, matching_files, request, is_recursive),
    }
    if dataset_type == "EDDTableFromAsciiFiles":
        options |= _read_csv_dialect(dataset)
    if options["kind"] == PRODUCT_SOURCE_KIND:
        options["mode"] = "table"
    return options, []


def _walk_directory(directory: Path, is_recursive: bool) -> Iterator[Path]:
    if not directory.is_dir():
        raise SourceError(f"its fileDir {directory} is not a directory on this machine")
    for number, path in enumerate(directory.rglob("*") if is_recursive else directory.iterdir()):
        if number > 1_000_000:
            raise SourceError(f"{directory} contains too many files to examine")
        if path.is_file():
            yield path


def _choose_file_pattern(
    directory: Path, files: list[Path], request: TableDescriptionRequest, is_recursive: bool
) -> str | list[str]:
    """Write the files as a pattern where one says exactly the same, else one by one."""
    if len(files) == 1:
        return request.format_path(files[0])
    for extension in dict.fromkeys("".join(path.suffixes) for path in files):
        if is_recursive:
            pattern = f"**/*{extension}"
        else:
            pattern = f"*{extension}"
        if sorted(path for path in directory.glob(pattern) if path.is_file()) == files:
            return request.format_path(directory / pattern)
    return [request.format_path(path) for path in files]


def _read_csv_dialect(dataset: Any) -> dict[str, Any]:
    """Read how lines are cut: what our own reader would guess is not said."""
    options: dict[str, Any] = {}
    charset = _read_element_text(dataset, "charset").lower()
    if charset and charset != "utf-8":
        options["encoding"] = charset
    separator = (dataset.findtext("columnSeparator") or "").strip(" ")
    if separator:
        options["delimiter"] = {",": "comma", "\t": "tab", "\\t": "tab", ";": "semicolon", "|": "pipe"}.get(
            separator, separator
        )
    names_row = _read_row_number(dataset, "columnNamesRow")
    first_data_row = _read_row_number(dataset, "firstDataRow")
    if names_row > 1:
        options["skip"] = names_row - 1
    if names_row == 0:  # columns have no names
        options["header"] = False
    if names_row and first_data_row == names_row + 2:
        options["units"] = True  # the record between them, as a rule
    return options


def _read_row_number(dataset: Any, name: str) -> int:
    text = _read_element_text(dataset, name)
    if text.isdigit():
        return int(text)
    return 1


def _read_variable_column(variable: Any, source_kind: str) -> Column:
    attributes = _read_added_attributes(variable)
    source = _read_element_text(variable, "sourceName")
    element_text = _read_element_text(variable, "dataType")
    type_name = ERDDAP_TYPES.get(element_text.lower(), "string")
    unit, note = _translate_udunits(attributes.get("units", ""))
    if source_kind == PRODUCT_SOURCE_KIND and TIME_UNIT_PATTERN.fullmatch(
        attributes.get("units", "").strip()
    ):  # as they are read
        unit = "d"
        note = "MJD"
        type_name = "float64"
    comment_text = attributes.get("comment") or attributes.get("description") or ""
    label = attributes.get("long_name") or _read_element_text(variable, "destinationName")
    text = ". ".join(part.rstrip(". ") for part in (label, comment_text, note) if part)
    return Column(
        name=source,
        type=parse_type(type_name),
        unit=unit or None,
        ucd=UCDS_BY_STANDARD_NAME.get(attributes.get("standard_name", "").lower())
        or UCDS_BY_STANDARD_NAME.get(_read_element_text(variable, "destinationName").lower()),
        description=text or None,
    )


def _translate_udunits(text: str) -> tuple[str, str]:
    """Translate UDUNITS; what is left of it belongs into the description."""
    text = text.strip()
    match = TIME_UNIT_PATTERN.fullmatch(text)
    if match:
        return UDUNITS_ALIASES.get(match[1].lower(), ""), text
    if text.lower() in UDUNITS_ALIASES:
        return UDUNITS_ALIASES[text.lower()], ""
    unit = units.normalize_unit(text)
    if unit:
        return unit, ""
    terms = [_UNIT_TERM_PATTERN.fullmatch(part) for part in text.split()]
    if text and all(terms):
        vounit_text = ".".join(term[1] + (f"**{term[2]}" if term[2] else "") for term in terms if term)
        unit = units.normalize_unit(vounit_text)
        if unit:
            return unit, ""
    return text, ""

"""ERDDAP: datasets.xml, the configuration of its data sets; those of tables in files and in databases are read from where they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.descriptor._described import Description, DescriptionKind, Given, TableSaid, matches
from hven.model import units
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DESCRIPTION = DescriptionKind(begins=rb"<erddapDatasets[\s>]")
TYPES = {
    "boolean": "bool", "byte": "int16", "ubyte": "int16", "short": "int16", "ushort": "int32", "int": "int32", "uint": "int64", "long": "int64", "ulong": "float64",
    "float": "float32", "double": "float64", "char": "string", "string": "string",
}  # fmt: skip
FILES = {
    "EDDTableFromAsciiFiles": "csv", "EDDTableFromParquetFiles": "parquet",
    **dict.fromkeys(("EDDTableFromNcFiles", "EDDTableFromMultidimNcFiles", "EDDTableFromNcCFFiles"), "product"),
}  # fmt: skip
PRODUCT = "product"
DATABASE = "EDDTableFromDatabase"
# what is to be done with data sets that are no tables of files here
ELSEWHERE = {
    "Grid": "a grid is no table: `kind: product` makes a row for each of its files or variables, and `files:` publishes them",
    "FromErddap": "it is another ERDDAP's: hven new takes the file that its tabledap gives as .csvp or .parquet",
    "FromDapSequence": "hven new takes a file that its server gives as text",
}
UNITS = {
    "degrees_north": "deg", "degree_north": "deg", "degrees_east": "deg", "degree_east": "deg", "degrees": "deg", "degree": "deg", "degree_c": "Celsius",
    "degrees_c": "Celsius", "celsius": "Celsius", "count": "count", "1": "", "seconds": "s", "minutes": "min", "hours": "h", "days": "d", "meters": "m", "meter": "m",
}  # fmt: skip
UCDS = {  # by the CF standard name
    "latitude": "pos.earth.lat", "longitude": "pos.earth.lon", "time": "time.epoch", "altitude": "pos.earth.altitude", "depth": "pos.earth.altitude",
    "air_temperature": "phys.temperature", "sea_water_temperature": "phys.temperature", "sea_surface_temperature": "phys.temperature", "air_pressure": "phys.pressure",
    "wind_speed": "phys.veloc", "station_id": "meta.id",
}  # fmt: skip
ABOUT = {"license": "licence", "infoUrl": "reference_url", "publisher_name": "publisher", "institution": "publisher"}
SINCE = re.compile(r"(\w+) since (.+)", re.IGNORECASE)
_TERM = re.compile(r"([A-Za-z%]+)\^?(-?\d+)?")


def read(given: Given) -> Description:
    """Read the data sets that are tables in files or databases; the others are named in the notes.

    Raises
    ------
    SourceError
        It is no XML; none of its data sets can be read here, and why.
    """
    where = given.path.name
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True)
    try:
        root = etree.fromstring(given.text(), parser)
    except etree.XMLSyntaxError as error:
        raise SourceError(f"no XML: {error.msg}", place=Place(file=where, line=error.lineno)) from error
    tables: list[TableSaid] = []
    notes: list[str] = []
    found = [one for one in root.iter("dataset") if one.get("active", "true") != "false"]
    found = [one for one in found if matches(given.table or "*", str(one.get("datasetID")))] or found
    for one in found:
        try:
            tables.append(_table(one, given))
        except SourceError as error:
            notes.append(f"{one.get('datasetID')} is left out: {error.message}")
    if found and not tables:
        raise SourceError(
            f"none of its {len(found)} data sets can be read here: {notes[0]}", place=Place(file=where),
            remedy="data sets of files are read where fileDir is a directory of this machine, those of databases everywhere",
        )  # fmt: skip
    said = _attributes(found[0]) if len(found) == 1 else {}
    about: dict[str, Any] = {}
    for word, key in ABOUT.items():
        if said.get(word):
            about.setdefault(key, said[word] if key != "licence" else " ".join(said[word].split())[:200])
    if said.get("creator_name"):
        about["creators"] = [{"name": said["creator_name"]}]
    if said.get("keywords"):
        about["subjects"] = [word for one in said["keywords"].split(",") if (word := one.strip())][:20]
    return Description(
        kind="configuration of ERDDAP", tables=tables, title=said.get("title"), description=said.get("summary"), about=about, notes=notes
    )  # fmt: skip


def _attributes(element: Any) -> Mapping[str, str]:
    """List the attributes that are added to a data set or variable."""
    return {
        str(one.get("name")): (one.text or "").strip()
        for part in element.findall("addAttributes")
        for one in part.findall("att")
    }


def _word(element: Any, name: str) -> str:
    return str(element.findtext(name) or "").strip()


def _table(dataset: Any, given: Given) -> TableSaid:
    kind, name, said = str(dataset.get("type")), str(dataset.get("datasetID")), _attributes(dataset)
    source_, notes = _source(kind, dataset, given)
    columns: list[Column] = []
    names: dict[str, str] = {}
    constants: list[tuple[Column, str]] = []
    for variable in dataset.findall("dataVariable"):
        column, source = _column(variable, source_["kind"]), _word(variable, "sourceName")
        if source.startswith("="):  # a constant
            target = _word(variable, "destinationName") or column.name
            constants.append((column.having(name=target), source[1:].strip().strip('"')))
        elif source.startswith(("***", "global:", "variable:")):
            notes.append(
                f"{_word(variable, 'destinationName') or source} is {source}: facts of files are {{file.name}} and the like in `text`"
            )
        else:
            columns.append(column)
            names[source] = _word(variable, "destinationName") or source
    if not columns:
        raise SourceError("it has no dataVariable")
    return TableSaid(
        name=name, source=source_, columns=columns, names=names, title=said.get("title"), description=said.get("summary"), constants=constants, notes=notes
    )  # fmt: skip


def _source(kind: str, dataset: Any, given: Given) -> tuple[dict[str, Any], list[str]]:
    """Find the rows, and what the curator should know of that."""
    if kind == DATABASE:
        secret = f"{given.name.upper()}_DB"
        place = ".".join(
            part for part in (_word(dataset, "schemaName"), _word(dataset, "tableName")) if part
        )  # a catalogName is the database itself
        if not place:
            raise SourceError("it names no table")
        address = re.sub(r"[?;].*|//[^/@]*@", "", _word(dataset, "sourceUrl"))
        note = f"the secret {secret} (secrets.toml, or the environment) is to be the address of the database: {address or 'it is not named'}"
        return {"kind": "sql", "url": f"${secret}", "table": place}, [note]
    if kind not in FILES:
        why = next((f"; {text}" for word, text in ELSEWHERE.items() if word in kind), "")
        raise SourceError(f"data sets of the type {kind} are not read{why}")
    folder = Path(_word(dataset, "fileDir"))
    directory = folder if folder.is_absolute() else given.path.parent / folder
    wanted = _word(dataset, "fileNameRegex") or ".*"
    try:
        fits = re.compile(wanted).fullmatch
    except re.error as error:
        raise SourceError(f"its fileNameRegex {wanted!r} is none: {error}") from error
    deep = _word(dataset, "recursive") == "true"
    there = sorted(one for one in _walked(directory, deep) if fits(one.name))
    if not there:
        raise SourceError(f"no file of {directory} is called {wanted}")
    options: dict[str, Any] = {"kind": FILES[kind], "files": _pattern(directory, there, given, deep)}
    if kind == "EDDTableFromAsciiFiles":
        options |= _dialect(dataset)
    if options["kind"] == PRODUCT:
        options["mode"] = "table"
    return options, []


def _walked(directory: Path, deep: bool) -> Iterator[Path]:
    if not directory.is_dir():
        raise SourceError(f"its fileDir {directory} is no directory of this machine")
    for number, one in enumerate(directory.rglob("*") if deep else directory.iterdir()):
        if number > 1_000_000:
            raise SourceError(f"{directory} has too many files to look at")
        if one.is_file():
            yield one


def _pattern(directory: Path, there: list[Path], given: Given, deep: bool) -> str | list[str]:
    """Write the files as a pattern where one says exactly the same, else one by one."""
    if len(there) == 1:
        return given.shown(there[0])
    for ending in dict.fromkeys("".join(one.suffixes) for one in there):
        pattern = f"**/*{ending}" if deep else f"*{ending}"
        if sorted(one for one in directory.glob(pattern) if one.is_file()) == there:
            return given.shown(directory / pattern)
    return [given.shown(one) for one in there]


def _dialect(dataset: Any) -> dict[str, Any]:
    """Read how lines are cut: what our own reader would guess is not said."""
    options: dict[str, Any] = {}
    charset = _word(dataset, "charset").lower()
    if charset and charset != "utf-8":
        options["encoding"] = charset
    separator = (dataset.findtext("columnSeparator") or "").strip(" ")
    if separator:
        options["delimiter"] = {",": "comma", "\t": "tab", "\\t": "tab", ";": "semicolon", "|": "pipe"}.get(separator, separator)  # fmt: skip
    names, first = _number(dataset, "columnNamesRow"), _number(dataset, "firstDataRow")
    if names > 1:
        options["skip"] = names - 1
    if names == 0:  # columns have no names
        options["header"] = False
    if names and first == names + 2:
        options["units"] = True  # the record between them, as a rule
    return options


def _number(dataset: Any, name: str) -> int:
    text = _word(dataset, name)
    return int(text) if text.isdigit() else 1


def _column(variable: Any, source_kind: str) -> Column:
    said, source = _attributes(variable), _word(variable, "sourceName")
    kind = TYPES.get(_word(variable, "dataType").lower(), "string")
    unit, note = _unit(said.get("units", ""))
    if source_kind == PRODUCT and SINCE.fullmatch(said.get("units", "").strip()):  # as they are read
        unit, note, kind = "d", "MJD", "float64"
    about = said.get("comment") or said.get("description") or ""
    label = said.get("long_name") or _word(variable, "destinationName")
    text = ". ".join(part.rstrip(". ") for part in (label, about, note) if part)
    return Column(
        name=source,
        type=parse_type(kind),
        unit=unit or None,
        ucd=UCDS.get(said.get("standard_name", "").lower()) or UCDS.get(_word(variable, "destinationName").lower()),
        description=text or None,
    )


def _unit(text: str) -> tuple[str, str]:
    """Translate UDUNITS; what is left of it belongs into the description."""
    text = text.strip()
    if match := SINCE.fullmatch(text):
        return UNITS.get(match[1].lower(), ""), text
    if text.lower() in UNITS:
        return UNITS[text.lower()], ""
    if found := units.meant(text):
        return found, ""
    terms = [_TERM.fullmatch(part) for part in text.split()]
    if text and all(terms):
        made = ".".join(one[1] + (f"**{one[2]}" if one[2] else "") for one in terms if one)
        if found := units.meant(made):
            return found, ""
    return text, ""

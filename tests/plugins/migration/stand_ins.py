"""Files and databases that stand in for data that a public resource descriptor does not come with."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from astropy.io import fits

FUNCTION_WORDS = {
    "case",
    "when",
    "then",
    "else",
    "end",
    "and",
    "or",
    "not",
    "null",
    "is",
    "in",
    "like",
    "as",
    "cast",
    "concat",
}
# values with which rows of EPN-TAP pass its rules; any other column has a 1
VALUES = {
    "dataproduct_type": "im",
    "measurement_type": "phot.flux",
    "target_class": "planet",
    "spatial_frame_type": "body",
    "processing_level": "3",
    "time_min": "2451545.0",
    "time_max": "2451545.0",
    "creation_date": "2020-01-01T00:00:00",
    "modification_date": "2020-01-01T00:00:00",
    "release_date": "2020-01-01T00:00:00",
    "s_region": "Polygon 10 10 11 10 11 11",
    "geometry_type": "",
    "access_format": "image/fits",
    "access_url": "https://example.org/a",
    "thumbnail_url": "https://example.org/b",
}


def list_names(text: str) -> set[str]:
    """List the names in an expression that can be columns of the source."""
    text = re.sub(r"'(?:[^']|'')*'", "", text)
    quoted = set(re.findall(r'"([^"]+)"', text))
    text = re.sub(r'"[^"]+"', "", text)
    found = re.findall(r"(?<![\w.])([A-Za-z_]\w*)(?!\w*[.(])", text)
    return quoted | {name for name in found if name.lower() not in FUNCTION_WORDS}


def list_source_columns(table: dict[str, Any], required: list[str]) -> list[str]:
    """List the columns that the mapping of a table reads, and those that it copies."""
    filled = {name.lower() for key in ("set", "text", "map") for name in table.get(key, {})}
    names: dict[str, str] = {}
    for expression in [*table.get("map", {}).values(), *table.get("let", {}).values(), table.get("where", "")]:
        for name in list_names(str(expression)):
            names.setdefault(name.lower(), name)
    for template in table.get("text", {}).values():
        for expression in re.findall(r"\{([^{}]+)\}", template):
            for name in list_names(expression):
                names.setdefault(name.lower(), name)
    for name in [*table.get("columns", {}), *required]:
        if name.lower() not in filled:
            names.setdefault(name.lower(), name)
    return list(names.values())


def _choose_value(name: str, types: dict[str, str]) -> str:
    kind = types.get(name.lower(), "")
    if kind.startswith("like "):
        return VALUES[kind.removeprefix("like ")]
    if kind == "polygon":
        return "0 0 10 0 10 10"
    if name.lower() in VALUES:
        return VALUES[name.lower()]
    if kind == "timestamp":
        return "2020-01-01T00:00:00"
    if kind in {"point", "polygon", "circle", "moc", "bool"} or kind.endswith("]"):
        return ""
    return "1"


def write_stand_in(table: dict[str, Any], directory: Path, required: list[str]) -> None:
    """Write the first file of a source, or the table of its database, if it is not there."""
    types = {name.lower(): str(column.get("type", "")) for name, column in table.get("columns", {}).items()}
    source = table["source"]
    names = list_source_columns(table, required) or ["row"]
    declared_names = {name.lower() for name in source.get("types", {})}
    names = [name for name in names if name.lower() not in declared_names] + list(source.get("types", {}))
    for target, expression in [*table.get("map", {}).items(), *table.get("text", {}).items()]:
        name = str(expression).strip('"{}')
        if target in VALUES and name in names:
            types[name.lower()] = f"like {target}"
    if source["kind"] == "sql":
        with sqlite3.connect(directory / "dachs.sqlite") as database:
            columns = ", ".join(f'"{name}"' for name in names)
            values = ", ".join("?" for _ in names)
            name = source["table"].rpartition(".")[2]
            database.execute(f'CREATE TABLE IF NOT EXISTS "{name}" ({columns})')
            database.execute(f'INSERT INTO "{name}" VALUES ({values})', [_choose_value(name, types) for name in names])
        del source["url"]
        source |= {"file": "dachs.sqlite", "table": name}
        return
    if source["kind"] not in {"csv", "fixed", "fits", "votable", "product"}:
        return
    patterns = source["files"] if isinstance(source["files"], list) else [source["files"]]
    if all(next(Path("/").glob(pattern.lstrip("/")), None) or (directory / pattern).is_file() for pattern in patterns):
        return
    paths = [directory / f"stand_in_{number}" for number, _ in enumerate(patterns)]
    for path in paths:
        _write_file(path, source, names, types, str(table.get("map", "")) + str(table.get("text", "")))
    source["files"] = [path.name for path in paths]


def _write_file(path: Path, source: dict[str, Any], names: list[str], types: dict[str, str], mapping: str) -> None:
    text_names = {name.lower() for name in source.get("types", {})}
    if source["kind"] == "csv":
        names = source.get("names", names)
        values = [_choose_value(name, {} if name.lower() in text_names else types) for name in names]
        separator = {"tab": "\t", "semicolon": ";", "pipe": "|", "space": " ", "whitespace": " "}
        sign = separator.get(
            source.get("delimiter", ""), source.get("delimiter", ",") if source.get("delimiter") != "comma" else ","
        )
        lines = ["skipped"] * source.get("skip", 0) + ([] if source.get("header") is False else [sign.join(names)])
        path.write_text("\n".join([*lines, sign.join(value or "1" for value in values), ""]))
    elif source["kind"] == "fixed":
        width = max(
            int(part) for item in source["fields"].values() for part in re.findall(r"\d+", str(_get_bytes(item)))
        )
        path.write_text("\n" * source.get("skip", 0) + "1" * width + "\n")
    elif source.get("mode") == "header":
        names = [
            name for name in source.get("cards", names) if len(name) <= 8 and name.isascii() and "NAXIS" not in name
        ]
        cards = [(name, _choose_card(name, mapping)) for name in names]
        header = fits.Header(cards)
        fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(header=header)]).writeto(path, overwrite=True)
    else:
        columns = [fits.Column(name=name, format="D", array=[1.0]) for name in names]
        fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)


def _choose_card(name: str, mapping: str) -> str | int:
    if "DATE" in name or "TIME" in name:
        return "2020-01-01T00:00:00"
    text_functions = r"(replace|substring|parse_time|regexp_\w+|split_part|trim|UPPER|LOWER|sexagesimal|length)"
    return "1" if re.search(text_functions + rf"\(\"?{re.escape(name)}\b", mapping) else 1


def _get_bytes(item: Any) -> Any:
    return item["bytes"] if isinstance(item, dict) else item

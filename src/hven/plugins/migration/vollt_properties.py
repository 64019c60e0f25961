"""Draft collections from the settings of vollt, CDS's TAP library: ``hven new NAME --from tap.properties``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.drafts.document_drafts import ALL_COLLECTIONS
from hven.plugins.migration.document_parts import (
    add_table,
    build_map,
    build_place,
    choose_name,
    create_builders,
    find_type,
    keep_jdbc_address,
    read_head,
    set_value,
)
from hven.plugins.migration.resource_xml import Element, read_document, read_xml

if TYPE_CHECKING:
    from pathlib import Path

    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

_SIGNATURE_PATTERN = re.compile(rb"(?m)^\s*(jdbc_url|datasource_jndi_name|database_access|sql_translator)\s*[=:]")
_LINE_PATTERN = re.compile(r"\s*([\w.]+)\s*[=:\s]\s*(.*)")
_FUNCTION_PATTERN = re.compile(r"\[\s*(?:\(?\s*)?([\w.]+)\s*\(")
# limits of vollt, and the settings of Hven; -1 and 0 are no limit
LIMIT_SETTINGS = {
    "output_default_limit": "limits.maxrec_default",
    "output_max_limit": "limits.maxrec_hard",
    "sync_execution_duration": "limits.seconds",
    "upload_max_db_limit": "limits.upload_rows",
    "upload_max_request_size": "limits.upload",
    "upload_max_file_size": "limits.upload",
    "default_execution_duration": "jobs.seconds",
    "max_execution_duration": "jobs.seconds_hard",
    "default_retention_period": "jobs.keep_days",
    "max_retention_period": "jobs.keep_days_hard",
}
# vollt counts durations in milliseconds, Hven in seconds; vollt counts retention in seconds, Hven in days
DIVISORS = {
    **dict.fromkeys(("sync_execution_duration", "default_execution_duration", "max_execution_duration"), 1000),
    **dict.fromkeys(("default_retention_period", "max_retention_period"), 86400),
}
SIZE_SETTINGS = ("upload_max_request_size", "upload_max_file_size")  # the second is the older name of the first
_LIMIT_PATTERN = re.compile(r"(\d+)\s*(r|b|kb|mb|gb|)", re.IGNORECASE)
BYTES_OF_UNIT = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "": 1, "r": 1}
# settings with another counterpart
SETTINGS_ADVICE = {
    "datasource_jndi_name": "its address is in META-INF/context.xml: put it into the secret of the database",
    "TAP_SCHEMA": "the database calls it so: draft each table with `hven new NAME --from '$SECRET' --live`",
    "examples": "write `examples` in the descriptor",
    "user_identifier": "Hven has its own accounts, tokens and log-ins by institutes",
    "max_async_jobs": "Hven starts job workers as they are needed; see `jobs` in hven.toml",
}
# settings without a counterpart, with the reason
OMITTED_SETTINGS = {
    **dict.fromkeys(("file_manager", "file_root_path", "directory_per_user"), "Hven keeps its files in `var`"),
    **dict.fromkeys(("upload_enabled", "upload_default_db_limit"), "uploads are always possible, within `limits`"),
    **dict.fromkeys(("sync_fetch_size", "async_fetch_size", "fix_on_fail"), "Hven streams all answers"),
    **dict.fromkeys(("sql_translator", "geometries", "coordinate_systems"), "Hven has all functions of ADQL 2.1"),
    **dict.fromkeys(("output_formats", "capabilities_stylesheet", "tables_stylesheet"), "Hven has its own"),
    **dict.fromkeys(("logger", "min_log_level", "log_rotation"), "Hven has its own log"),
    **dict.fromkeys(("backup_frequency", "backup_by_user", "group_user_dir"), "Hven keeps its jobs in `var`"),
    "home_page_mime_type": "Hven has its own home page",
    **dict.fromkeys(("tap_factory", "additional_resources", "home_page"), "Java, which Hven does not run"),
}
CONNECTION_KEYS = ("jdbc_url", "jdbc_driver", "db_username", "db_user", "db_password", "database_access")


def is_collection_document(path: Path) -> bool:
    """Return whether a file has the settings of a TAP service of vollt.

    Parameters
    ----------
    path
        Path of the file.
    """
    return path.suffix == ".properties" and _SIGNATURE_PATTERN.search(read_head(path)) is not None


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collections whose tables the service has: one for each schema, or the chosen one.

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
        A file cannot be read.
    ConflictError
        A file exists that would be written.
    """
    settings = read_properties(request.path)
    schemas, fault = _read_schemas(request, settings)
    drafts: list[CollectionDraft] = []
    start = build_place(1)
    address = tuple(
        _find_setting(settings, *keys) for keys in (("jdbc_url",), ("db_username", "db_user"), ("db_password",))
    )
    for builder, names in create_builders(request, schemas, "vollt", "schema").values():
        _convert_settings(builder, settings)
        if fault:
            names_of_metadata = [name for name in ("metadata_file", "metadata") if name in settings]
            builder.report.add_decision(settings[names_of_metadata[0]][1] if names_of_metadata else start, fault)
        place = settings["jdbc_url"][1] if "jdbc_url" in settings else start
        secret = keep_jdbc_address(builder, request, address, place)
        builder.report.add_result(place, "the rows of all tables stay in their database")
        for name in names:
            for table in schemas[name].list_children("table"):
                _convert_table(builder, table, name, secret)
        drafts.append(builder.build_draft([request.path.name]))
    return drafts


def read_properties(path: Path) -> dict[str, tuple[str, Element]]:
    """Read a file of Java's properties: values with the lines where they begin."""
    text = read_document(path, path.name).decode("utf-8", errors="replace")
    values: dict[str, tuple[str, Element]] = {}
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not pending and line.lstrip().startswith(("#", "!")):
            continue
        start = start if pending else number
        pending += line.lstrip() if pending else line
        if pending.endswith("\\") and not pending.endswith("\\\\"):
            pending = pending[:-1]
            continue
        match = _LINE_PATTERN.fullmatch(pending)
        if match:
            values[match[1]] = match[2].strip().replace("\\:", ":").replace("\\=", "="), build_place(start, path.name)
        pending = ""
    return values


def _find_setting(settings: dict[str, tuple[str, Element]], *names: str) -> str:
    return next((settings[name][0] for name in names if name in settings), "")


def _read_schemas(
    request: DocumentDraftRequest, settings: dict[str, tuple[str, Element]]
) -> tuple[dict[str, Element], str]:
    """Read the schemas of the file with metadata, and say why there are none."""
    fallback = {"tap" if request.name == ALL_COLLECTIONS else request.name: Element("schema", {}, 1)}
    file_name = _find_setting(settings, "metadata_file")
    if not file_name:
        return fallback, (
            "the tables are described in TAP_SCHEMA of the database only: draft each with "
            "`hven new NAME --from '$SECRET' --table SCHEMA.TABLE --live`"
        )
    path = request.path.parent / file_name
    if not path.resolve().is_relative_to(request.path.parent.resolve()):
        return fallback, f"metadata_file {file_name} is outside the folder of {request.path.name}: copy it there"
    try:
        tableset = read_xml(path, path.name, ("tableset",))
    except UserError as error:
        return fallback, f"metadata_file {file_name}: {error.message}"
    schemas = {schema.get_value("name"): schema for schema in tableset.list_children("schema")}
    return {name: schema for name, schema in schemas.items() if name.upper() != "TAP_SCHEMA"} or fallback, ""


def _convert_settings(builder: DraftBuilder, settings: dict[str, tuple[str, Element]]) -> None:
    set_value(builder.draft, "title", _find_setting(settings, "provider_name"))
    set_value(builder.draft, "description", _find_setting(settings, "service_description"))
    limits: dict[str, list[str]] = {}
    for name, (value, place) in settings.items():
        if value in {"", "[]"}:
            continue
        if name == SIZE_SETTINGS[1] and _find_setting(settings, SIZE_SETTINGS[0]):
            builder.report.add_omission(place, f"{name}: {SIZE_SETTINGS[0]} is set, which vollt prefers")
        elif name in LIMIT_SETTINGS:
            match = _LIMIT_PATTERN.fullmatch(value)
            section, _, key = LIMIT_SETTINGS[name].partition(".")
            if (
                match is None
                or not int(match[1])
                or (match[2].lower() in {"b", "kb", "mb", "gb"}) != (name in SIZE_SETTINGS)
            ):
                builder.report.add_omission(place, f"{name} = {value}: choose `{section}.{key}` in hven.toml")
                continue
            number = int(match[1]) * BYTES_OF_UNIT[match[2].lower()] / DIVISORS.get(name, 1)
            if key.startswith("seconds"):
                number = math.ceil(number)
            limits.setdefault(section, []).append(f"{key} = {number:.15g}")
            builder.report.add_result(place, f"{name} became a line for hven.toml")
        elif (first_part := name.partition(".")[0]) in SETTINGS_ADVICE:
            builder.report.add_decision(place, f"{name} = {value}: {SETTINGS_ADVICE[first_part]}")
        elif name in OMITTED_SETTINGS:
            builder.report.add_omission(place, f"{name}: {OMITTED_SETTINGS[name]}")
        elif name == "udfs":
            names = sorted(set(_FUNCTION_PATTERN.findall(value)))
            builder.report.add_decision(
                place,
                f"user-defined functions ({', '.join(names) or value}): docs/reference/adql.md lists those of Hven; "
                "write the others as a package",
            )
        elif name not in {*CONNECTION_KEYS, "metadata", "metadata_file", "provider_name", "service_description"}:
            builder.report.add_decision(place, f"{name} is not known")
    for section, lines in limits.items():
        builder.settings_lines += [f"[{section}]", *lines, ""]


def _convert_table(builder: DraftBuilder, table: Element, schema: str, secret: str) -> None:
    full_name = table.get_value("name")
    database_label = full_name if "." in full_name else f"{schema}.{full_name}"
    keys: dict[str, Any] = {}
    set_value(keys, "title", table.get_value("title"))
    set_value(keys, "description", table.get_value("description"))
    keys["source"] = {"kind": "live", "url": secret, "table": database_label}
    columns: dict[str, dict[str, Any]] = {}
    elements = {column.get_value("name").strip('"'): column for column in table.list_children("column")}
    for name, column in elements.items():
        columns[choose_name(name, "column")] = _convert_column(column)
    keys["columns"] = columns
    keys |= build_map(elements)
    for number, key in enumerate(table.list_children("foreignKey")):
        pairs = key.list_children("fkColumn")
        keys.setdefault("keys", {})[f"key_{number + 1}"] = {
            "columns": [choose_name(pair.get_value("fromColumn").strip('"'), "column") for pair in pairs],
            "target": key.get_value("targetTable"),
            "target_columns": [choose_name(pair.get_value("targetColumn").strip('"'), "column") for pair in pairs],
        }
    add_table(builder, full_name.rpartition(".")[2], keys, table, f"the table {database_label}")


def _convert_column(column: Element) -> dict[str, Any]:
    data_type = column.find_child("dataType")
    word = "" if data_type is None else data_type.text
    size = "" if data_type is None else data_type.attributes.get("arraysize", "")
    extended_type = "" if data_type is None else data_type.attributes.get("extendedType", "")
    attributes: dict[str, Any] = {"type": find_type(word)}
    if find_type(extended_type.rpartition(":")[2]) != "string":  # text or numbers that stand for a time or a place
        attributes["type"] = find_type(extended_type.rpartition(":")[2])
        size = ""
    if size not in {"", "1"} and attributes["type"] not in {"string", "point", "circle", "polygon"}:
        attributes["type"] += f"[{size}]"
    for key, name in (("unit", "unit"), ("ucd", "ucd"), ("utype", "utype"), ("description", "description")):
        set_value(attributes, key, column.get_value(name))
    flags = {flag.text for flag in column.list_children("flag")}
    if flags & {"indexed", "primary"}:
        attributes["indexed"] = True
    return attributes

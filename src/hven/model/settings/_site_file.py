"""hven.toml and the environment -> one frozen object; every fault at once, each with its line."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, Place, UserError, find_close_match, suggest_spelling
from hven.model.settings._secrets import resolve_secret
from hven.model.settings._site_settings import Settings
from hven.model.settings._validation import (
    NAMED_SECTION_CLASSES,
    build_file_model,
    collect_sections,
    collect_setting_metadata,
    list_engine_sections,
    parse_byte_size,
    validate_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SETTINGS_FILE = "hven.toml"
VARIABLE_PREFIX = "HVEN_"
RESERVED_PATHS = frozenset(  # first words of paths that answer themselves
    [
        "adql",
        "assets",
        "changes",
        "collections",
        "cone",
        "datalink",
        "docs",
        "edit",
        "epn",
        "files",
        "health",
        "help",
        "jobs",
        "login",
        "logo",
        "logout",
        "metrics",
        "news",
        "news.atom",
        "news.rss",
        "oai",
        "obscore",
        "projects",
        "robots.txt",
        "search",
        "siap",
        "soda",
        "ssap",
        "statistics",
        "tables",
        "tap",
        "tree",
        "vosi",
    ]
)


def load_settings(directory: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read ``hven.toml`` of a site, then ``HVEN_*`` variables, which win (``HVEN_PORT``, ``HVEN_LIMITS_SECONDS``).

    Parameters
    ----------
    directory
        The site's.
    environment
        Variables; None: those of this process.

    Returns
    -------
    settings
        With the sections that engines bring.

    Raises
    ------
    UserError
        The directory is no site.
    DescriptorError
        There are faults: all of them, with file:line.
    """
    environment = os.environ if environment is None else environment
    file = directory / SETTINGS_FILE
    if not file.is_file():
        if not directory.is_dir():
            reason = "there is no such directory"
        else:
            reason = f"it has no {SETTINGS_FILE}"
        message = f"{directory} is no site: {reason}"
        raise UserError(message, remedy=f"hven init {directory}")
    faults: list[Fault] = []
    text, data = _parse_file(file, faults)
    _convert_byte_sizes(data)
    overrides = _read_environment(environment, faults)
    faults += _find_faults(data, text)
    faults += [
        Fault(message=f"{_format_variable_name(key)}: {message}", place=Place(file="environment"))
        for key, message in _find_invalid_keys(_group_keys_by_section(overrides))
    ]
    if faults:
        raise DescriptorError(faults)
    for key, value in overrides.items():
        section, dot, name = key.rpartition(".")
        (data.setdefault(section, {}) if dot else data)[name] = value
    return _build_settings(directory, data)


def _parse_file(file: Path, faults: list[Fault]) -> tuple[str, dict[str, Any]]:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DescriptorError(
            [Fault(message="not UTF-8", place=Place(file=SETTINGS_FILE, line=line), remedy="save the file as UTF-8")]
        ) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column (\d+)\)|\(at end of document\)", str(error))
        if match and match[1]:
            line, column = (int(match[1]), int(match[2]))
        else:
            line, column = (text.count("\n") + 1, None)
        message = str(error).partition(" (at ")[0]
        place = Place(file=SETTINGS_FILE, line=line, column=column)
        faults.append(
            Fault(
                message=f"not TOML: {message}",
                place=place,
                remedy='text stands in double quotes: name = "x"',
            )
        )
        raise DescriptorError(faults) from None


def _convert_byte_sizes(data: dict[str, Any]) -> None:
    for key, metadata in collect_setting_metadata().items():
        section, _, name = key.rpartition(".")
        if section:
            holder = data.get(section)
        else:
            holder = data
        if not metadata["size"] or not isinstance(holder, dict):
            continue
        for table in (
            holder.values()
            if section in collect_sections() and collect_sections()[section].settings_class in NAMED_SECTION_CLASSES
            else (holder,)
        ):
            if isinstance(table, dict) and name in table:
                table[name] = parse_byte_size(table[name])


def _find_invalid_keys(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) for everything that is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415  (a tenth of a second, which `hven --help` does not need)

    try:
        build_file_model().model_validate(data)
    except ValidationError as error:
        named_sections = {
            name for name, entry in collect_sections().items() if entry.settings_class in NAMED_SECTION_CLASSES
        }
        for item in error.errors():
            # a name in a map is its own place
            steps = [step for step in item["loc"] if isinstance(step, int | str) and step != "[key]"]
            key = ".".join(str(step) for step in steps)
            words = [step for step in steps if isinstance(step, str)]
            name = ".".join(words[:1] + words[2:] if words[0] in named_sections else words)  # the second is its name
            if item["type"] == "dict_type" and steps[-1] == words[0] and name in named_sections:
                example = next((entry["name"] for entry in _select_tables(item["input"]) if "name" in entry), "NAME")
                yield key, f"each has a section with its own name: write [{name}.{example}], and no `name` in it"
            elif item["type"] == "extra_forbidden":
                section = name.rpartition(".")[0]
                known_keys = [
                    other_key.rpartition(".")[2]
                    for other_key in collect_setting_metadata()
                    if other_key.rpartition(".")[0] == section
                ]
                yield (
                    key,
                    (
                        f"there is no such setting; "
                        f"{suggest_spelling(words[-1], known_keys) or 'known: ' + ', '.join(known_keys)}"
                    ),
                )
            elif item["type"] == "missing":
                yield key, "is missing"
            elif item["type"] == "string_pattern_mismatch":
                metadata = collect_setting_metadata().get(name) or collect_setting_metadata().get(
                    name.rpartition(".")[0], {}
                )
                expected = metadata.get("example", "another form")
                yield key, f"{item['input']!r} does not look right; expected {expected}"
            elif item["type"] == "value_error":
                yield key, str(item["ctx"]["error"])
            else:
                message = str(item["msg"])
                yield key, f"{message[:1].lower()}{message[1:]}, not {item['input']!r}"


def _select_tables(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return []


def _build_fault(
    file_text: str, key: str, message: str, remedy: str = "", *, place_key: str = "", severity: str = "error"
) -> Fault:
    place = Place(file=SETTINGS_FILE, line=_find_line(file_text, place_key or key))
    return Fault(
        message=f"{key}: {message}",
        place=place,
        remedy=remedy,
        severity=severity,
    )


def _iterate_entries(data: dict[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of an array, as far as they are such, with their keys."""
    entries = data.get(section)
    yield from (
        (f"{section}.{number}", entry)
        for number, entry in enumerate(entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    )


def _find_faults(data: dict[str, Any], file_text: str) -> list[Fault]:
    faults = [_build_fault(file_text, key, message) for key, message in _find_invalid_keys(data)]
    for key, item in _iterate_entries(data, "alias"):
        query = item.get("query")
        if query is not None and item.get("to") != "/tap/sync":
            faults.append(_build_fault(file_text, f"{key}.query", "is for to = '/tap/sync'"))
        elif query is None and item.get("where"):
            faults.append(
                _build_fault(file_text, f"{key}.where", "is for the conditions of a `query`, which is missing")
            )
    login = data.get("login")
    if isinstance(login, dict) and login.get("proxy_header") and not login.get("proxies"):
        faults.append(
            _build_fault(file_text, "login.proxy_header", "is believed from nobody", 'proxies = ["127.0.0.1"]')
        )
    pairs = (
        ("limits", "maxrec_default", "maxrec_hard"),
        ("jobs", "seconds", "seconds_hard"),
        ("jobs", "keep_days", "keep_days_hard"),
        ("jobs", "maxrec_default", "maxrec_hard"),
        ("schedule", "retry", "retry_most"),
    )
    for section, default_key, hard_key in pairs:
        section_values = data.get(section, {})
        if isinstance(section_values, dict):
            default_settings = collect_sections()[section].settings_class()
            default_value, hard_value = (
                section_values.get(key, getattr(default_settings, key)) for key in (default_key, hard_key)
            )
            if (
                isinstance(default_value, int | float)
                and isinstance(hard_value, int | float)
                and default_value > hard_value
            ):
                line = _find_line(file_text, f"{section}.{default_key}") or _find_line(
                    file_text, f"{section}.{hard_key}"
                )
                place = Place(
                    file=SETTINGS_FILE,
                    line=line,
                )
                faults.append(
                    Fault(
                        message=f"{section}.{default_key} ({default_value}) is above {section}.{hard_key} "
                        f"({hard_value})",
                        place=place,
                    )
                )
    portal_faults = _find_portal_faults(data, file_text)
    remote_faults = _find_remote_faults(data, file_text)
    return sorted(
        [*faults, *portal_faults, *remote_faults],
        key=lambda fault: fault.place.line or 0,
    )


def _find_remote_faults(data: dict[str, Any], file_text: str) -> Iterator[Fault]:
    """Find services of one name, and EPN-TAP ones without tables.

    Finding them would be a question to each at every search.
    """
    used_names: set[str] = set()
    for key, entry in _iterate_entries(data, "remote"):
        name = str(entry.get("name", ""))
        name_key = f"{key}.name"
        if name in used_names:
            yield _build_fault(file_text, name_key, f"there are two services {name}")
        used_names.add(name)
        if entry.get("kind", "epn") == "epn" and not entry.get("tables"):
            yield _build_fault(
                file_text,
                f"{key}.tables",
                "is missing",
                'its EPN-TAP tables: tables = ["amdadb.epn_core"]',
                place_key=name_key,
            )


def _find_portal_faults(data: dict[str, Any], file_text: str) -> Iterator[Fault]:
    """Find portals that nobody could come to, and two at one place."""
    keys_by_place: dict[str, str] = {}
    portals = data.get("portals", {})
    for name, portal in portals.items() if isinstance(portals, dict) else ():
        if not isinstance(portal, dict):
            continue
        key = f"portals.{name}"
        places = [str(portal[key]).lower() for key in ("host", "path") if portal.get(key)]
        if len(places) != 1:
            reason = "it has neither host nor path" if not places else "it has a host and a path"
            yield _build_fault(file_text, key, reason, 'one of: host = "x.example.org", path = "/x"')
        first = str(portal.get("path") or "").split("/")[1:2]
        if first and first[0].lower() in RESERVED_PATHS:
            yield _build_fault(file_text, key, f"/{first[0]} is the path of a service", "choose another one")
        for place in places:
            if place in keys_by_place:
                yield _build_fault(file_text, key, f"{place} is that of {keys_by_place[place]}", "give each its own")
            keys_by_place.setdefault(place, key)


def find_missing_portal_items(settings: Settings) -> list[Fault]:
    """List what the portals name and the site does not have: collections, logos, texts.

    Parameters
    ----------
    settings
        Of a site.

    Returns
    -------
    faults
        Warnings, each with its line.
    """
    faults = []
    text = _read_settings_file(settings)
    collection_names = sorted(
        path.parent.name for path in settings.collections_directory.glob("*/*.yaml") if path.stem == path.parent.name
    )
    for portal in settings.portals:
        for name in portal.collections:
            if name not in collection_names:
                remedy = suggest_spelling(name, collection_names) or f"known: {', '.join(collection_names)}"
                key = f"portals.{portal.name}.collections"
                fault = _build_fault(text, key, f"there is no collection {name!r}", remedy, severity="warning")
                faults.append(fault)
    files = [
        ("logo", settings.logo),
        *(
            (f"portals.{site_portal.name}.{key}", getattr(site_portal, key))
            for site_portal in settings.portals
            for key in ("logo", "text", "help")
        ),
    ]
    for key, file in files:
        if file and not (settings.directory / file).exists():
            message = f"there is no {'directory' if key.endswith('.help') else 'file'} {file} beside {SETTINGS_FILE}"
            faults.append(_build_fault(text, key, message, "write it, or leave the setting out", severity="warning"))
    return faults


def find_unavailable_sections(settings: Settings) -> list[Fault]:
    """List sections that are in vain: what they need is not installed.

    Parameters
    ----------
    settings
        Of a site.

    Returns
    -------
    faults
        Each with the line of the section and the remedy.
    """
    faults = []
    for section in list_engine_sections():
        if settings.brought[section.name] != (() if section.is_repeated else section.settings_class()):
            try:
                plugins.require_modules("it", *section.required_modules)
            except UserError as error:
                fault = _build_fault(_read_settings_file(settings), section.name, error.message, error.remedy)
                faults.append(fault)
    return faults


def _read_settings_file(settings: Settings) -> str:
    return (settings.directory / SETTINGS_FILE).read_text(encoding="utf-8-sig")


def _find_line(file_text: str, key: str) -> int | None:
    """Find the line in which a dotted key stands; `alias.1.to` counts tables of an array from 0."""
    line = _find_exact_line(file_text, key)
    # within a table in one line
    if line is None and key.count(".") > 1:
        return _find_exact_line(file_text, key.rpartition(".")[0])
    return line


def _find_exact_line(file_text: str, key: str) -> int | None:
    steps = key.split(".")
    section = ""
    number = -1
    is_array_table = False
    section_steps = [step for step in steps[:-1] if not step.isdigit()]
    index = next((int(step) for step in steps if step.isdigit()), 0)
    header_line = None
    for line, row in enumerate(file_text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", row)
        if header:
            is_array_table = header[1] == "[["
            if is_array_table and header[2] == section:
                number = number + 1
            else:
                number = 0
            section = header[2]
            if section == ".".join(section_steps) and (not is_array_table or number == index):
                header_line = line
            if section == key:
                return line
            continue
        match = re.match(r"\s*[\"']?([A-Za-z0-9_.-]+)[\"']?\s*=", row)
        if (
            match
            and (section + "." if section else "") + match[1] == ".".join([*section_steps, steps[-1]])
            and (not is_array_table or number == index)
        ):
            return line
    return header_line


def _map_variables_to_settings() -> dict[str, str]:
    """Map variables of the environment to the settings that are one value."""
    compound_settings = {
        "ceilings",
        "defaults",
        "rules",
        *(name for name, section in collect_sections().items() if section.is_repeated),
    }
    return {
        _format_variable_name(name): name
        for name in collect_setting_metadata()
        if name not in collect_sections() and name.partition(".")[0] not in compound_settings
    }


def _format_variable_name(key: str) -> str:
    return VARIABLE_PREFIX + key.replace(".", "_").upper()


def _read_environment(environment: Mapping[str, str], faults: list[Fault]) -> dict[str, Any]:
    """Read the variables; one that is nearly the name of a setting is a fault, others may be secrets."""
    settings_by_variable = _map_variables_to_settings()
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(VARIABLE_PREFIX):
            continue
        if variable in settings_by_variable:
            key = settings_by_variable[variable]
            if collect_setting_metadata()[key]["size"]:
                values[key] = parse_byte_size(value)
            elif collect_setting_metadata()[key]["many"]:
                values[key] = value.split(",")
            else:
                values[key] = value
            continue
        similar_variable = find_close_match(variable, settings_by_variable, 0.85)
        if similar_variable is not None:
            place = Place(file="environment")
            faults.append(
                Fault(
                    message=f"there is no setting {variable}",
                    place=place,
                    remedy=f"did you mean {similar_variable}?",
                )
            )
    return values


def _group_keys_by_section(values_by_key: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in values_by_key.items():
        section, dot, name = key.rpartition(".")
        (data.setdefault(section, {}) if dot else data)[name] = value
    return data


def _build_settings(directory: Path, data: dict[str, Any]) -> Settings:
    values = validate_settings(data)
    if values.get("store", "").startswith("$"):
        values["store"] = resolve_secret(directory, values["store"])
    if "public_url" in values:
        values["public_url"] = values["public_url"].rstrip("/")
        values.setdefault("root_path", re.sub(r"^https?://[^/]+", "", values["public_url"]))
    return Settings(directory=directory, **values)

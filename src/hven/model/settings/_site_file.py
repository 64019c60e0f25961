"""Read hven.toml and the environment into one frozen object, and report all faults at once, each with its line."""

from __future__ import annotations

import json
import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, TextPlace, UserError, find_close_match, suggest_spelling
from hven.model.settings._secrets import resolve_secret
from hven.model.settings._sections import has_named_entries
from hven.model.settings._site_settings import Settings
from hven.model.settings._validation import (
    build_settings_file_model,
    collect_disabled_package_settings,
    collect_setting_metadata,
    collect_settings_sections,
    list_plugin_settings_sections,
    parse_byte_size_if_text,
    validate_and_convert_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.model.settings._sections import SettingsSection

SETTINGS_FILE = "hven.toml"
VARIABLE_PREFIX = "HVEN_"
RESERVED_PATHS = frozenset(  # first parts of paths that services answer
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
    """Read the ``hven.toml`` of a site, then ``HVEN_*`` variables, which take precedence (``HVEN_LIMITS_SECONDS``).

    Parameters
    ----------
    directory
        The directory of the site.
    environment
        Variables; None for those of this process.

    Returns
    -------
    settings
        Settings, with the sections of engines.

    Raises
    ------
    UserError
        The directory is not a site.
    DescriptorError
        There are faults; the error lists all of them, with file:line.
    """
    environment = os.environ if environment is None else environment
    file = directory / SETTINGS_FILE
    if not file.is_file():
        reason = f"it has no {SETTINGS_FILE}"
        if not directory.is_dir():
            reason = "there is no such directory"
        remedy = f"run `hven init {directory}`"
        if file.is_symlink():
            reason = f"{SETTINGS_FILE} is a link to {file.readlink()}, where there is no file"
            remedy = "correct or remove the link"
        elif file.exists():
            reason = f"{SETTINGS_FILE} is not a file"
            remedy = f"move it away, then {remedy}"
        message = f"{directory} is not a site: {reason}"
        raise UserError(message, remedy=remedy)
    faults: list[Fault] = []
    text, data = _parse_settings_file(file, faults)
    plugins.select_plugin_packages(_read_plugin_selection(data))  # before engines are asked for their settings
    _remove_disabled_package_settings(data)
    _parse_byte_sizes_in_settings(data)
    overrides = _read_environment_settings(environment, faults)
    faults += _find_settings_faults(data, text)
    for key, message in _find_invalid_keys(_group_keys_by_section(overrides)):
        fault_text = f"{_format_variable_name(key)}: {message}"
        faults.append(Fault(message=fault_text, place=TextPlace(file="environment")))
    if faults:
        raise DescriptorError(faults)
    _set_values_by_key(data, overrides)
    return _build_settings(directory, data)


def _parse_settings_file(file: Path, faults: list[Fault]) -> tuple[str, dict[str, Any]]:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        place = TextPlace(file=SETTINGS_FILE, line=line)
        fault = Fault(message="the file is not UTF-8", place=place, remedy="save the file as UTF-8")
        raise DescriptorError([fault]) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column (\d+)\)|\(at end of document\)", str(error))
        if match and match[1]:
            line = int(match[1])
            column = int(match[2])
        else:
            line = text.count("\n") + 1
            column = None
        message = str(error).partition(" (at ")[0]
        place = TextPlace(file=SETTINGS_FILE, line=line, column=column)
        remedy = 'put text in double quotes: name = "x"'
        if "Cannot" in message:  # overwrite a value, declare twice
            remedy = "write each setting, and each section, only once"
        faults.append(Fault(message=f"the file is not valid TOML: {message}", place=place, remedy=remedy))
        raise DescriptorError(faults) from None


def _read_plugin_selection(data: Mapping[str, Any]) -> list[str] | None:
    """Read which plug-in packages the site uses; None: all. Other values are faults, which are found later."""
    names = data.get("plugins")
    if isinstance(names, list):
        return [name for name in names if isinstance(name, str)]
    return None


def _find_disabled_package_settings(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings of packages that the site does not use, sections or ``section.setting``, and the packages."""
    for key, package in collect_disabled_package_settings().items():
        section, _, name = key.partition(".")
        holder = data.get(section)
        if holder is not None and (not name or (isinstance(holder, dict) and name in holder)):
            yield key, package


def _remove_disabled_package_settings(data: dict[str, Any]) -> None:
    """Remove settings of packages that the site does not use: they do not stop it, and ``hven check`` reports them."""
    for key, _ in list(_find_disabled_package_settings(data)):
        section, _, name = key.partition(".")
        if not name:
            del data[section]
        elif section in data:
            del data[section][name]


def _parse_byte_sizes_in_settings(data: dict[str, Any]) -> None:
    for key, metadata in collect_setting_metadata().items():
        section, _, name = key.rpartition(".")
        holder = data.get(section) if section else data
        if not metadata["size"] or not isinstance(holder, dict):
            continue
        tables = holder.values() if section in _list_sections_with_named_entries() else (holder,)
        for table in tables:
            if isinstance(table, dict) and name in table:
                table[name] = parse_byte_size_if_text(table[name])


def _list_sections_with_named_entries() -> set[str]:
    """Return the sections whose entries have names of their own, as in ``[readers.NAME]``."""
    sections = collect_settings_sections().items()
    return {name for name, section in sections if has_named_entries(section.settings_class)}


def _find_invalid_keys(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the message of everything that is wrong."""
    if not data:  # usual for the variables, and a model takes milliseconds to make
        return
    from pydantic import ValidationError  # noqa: PLC0415  (a tenth of a second, which `hven --help` does not need)

    try:
        build_settings_file_model(frozenset(data)).model_validate(data)
    except ValidationError as error:
        for item in error.errors():
            yield _explain_validation_error(item)


def _explain_validation_error(item: Any) -> tuple[str, str]:
    """Return the dotted key of one of pydantic's errors, and a message for the operator."""
    named_sections = _list_sections_with_named_entries()
    # a name in a map is its own place
    steps = [step for step in item["loc"] if isinstance(step, int | str) and step != "[key]"]
    key = ".".join(str(step) for step in steps)
    words = [step for step in steps if isinstance(step, str)]
    name_words = words
    if words[0] in named_sections:  # the second word is the name of the entry
        name_words = words[:1] + words[2:]
    name = ".".join(name_words)
    if item["type"] == "dict_type" and steps[-1] == words[0] and name in named_sections:
        example = next((entry["name"] for entry in _select_toml_tables(item["input"]) if "name" in entry), "NAME")
        return key, f"each of them needs a section with its own name: write [{name}.{example}], and no `name` in it"
    if item["type"] == "extra_forbidden":
        known_keys = _list_keys_of_section(name.rpartition(".")[0])
        hint = suggest_spelling(words[-1], known_keys) or "use one of " + ", ".join(known_keys)
        return key, f"there is no such setting; {hint}"
    if item["type"] == "missing":
        return key, "is missing"
    if item["type"] == "string_pattern_mismatch":
        all_metadata = collect_setting_metadata()
        metadata = all_metadata.get(name) or all_metadata.get(name.rpartition(".")[0], {})
        expected = metadata.get("example", "a different form")
        return key, f"{item['input']!r} is not valid; expected {expected}"
    if item["type"] == "value_error":
        return key, str(item["ctx"]["error"])
    message = str(item["msg"])
    text = f"{message[:1].lower()}{message[1:]}, not {item['input']!r}"
    form = _find_expected_form(item["type"], name, key, item["input"])
    if form:
        text = f"must be {form}; it is {item['input']!r}"
    return key, text


def _find_expected_form(error_type: str, name: str, key: str, value: object) -> str | None:
    """Describe the form of a value that has another type; None: the error is not about its type."""
    if error_type.startswith("int_"):
        is_size = collect_setting_metadata().get(name, {}).get("size")
        return "a number of bytes, such as '2 GiB'" if is_size else "a whole number"
    section = collect_settings_sections().get(name)
    if section is not None and section.is_repeated and key == name:
        return f"sections: write [[{name}]]"
    if error_type.startswith(("list_", "tuple_")):
        return f"a list, such as [{json.dumps(value)}]" if isinstance(value, str) else "a list in [ ]"
    if error_type.startswith(("dict_", "model_")):
        return f"a section: write [{key}], and the settings below it"
    forms = {"string_": "text in quotes", "bool_": "true or false", "float_": "a number"}
    return next((form for start, form in forms.items() if error_type.startswith(start)), None)


def _list_keys_of_section(section: str) -> list[str]:
    """List the keys of a section, without the section."""
    keys = []
    for setting in collect_setting_metadata():
        setting_section, _, key = setting.rpartition(".")
        if setting_section == section:
            keys.append(key)
    return keys


def _select_toml_tables(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return []


def _build_settings_fault(
    file_text: str, key: str, message: str, remedy: str = "", *, place_key: str = "", severity: str = "error"
) -> Fault:
    place = TextPlace(file=SETTINGS_FILE, line=_find_line_of_key(file_text, place_key or key))
    return Fault(message=f"{key}: {message}", place=place, remedy=remedy, severity=severity)


def _iterate_array_tables(data: dict[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of an array of tables, with their keys."""
    entries = data.get(section)
    if not isinstance(entries, list):
        return
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield f"{section}.{number}", entry


def _iterate_section_entries(data: dict[str, Any], section: SettingsSection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of a section with their keys: one, or those of a repeated section."""
    if section.is_repeated:
        yield from _iterate_array_tables(data, section.name)
    elif isinstance(data.get(section.name), dict):
        yield section.name, data[section.name]


def _find_settings_faults(data: dict[str, Any], file_text: str) -> list[Fault]:
    faults = [_build_settings_fault(file_text, key, message) for key, message in _find_invalid_keys(data)]
    for section in list_plugin_settings_sections():
        for key, entry in _iterate_section_entries(data, section):
            section_faults = section.find_faults(entry)
            faults += [_build_settings_fault(file_text, f"{key}.{name}", text) for name, text in section_faults]
    login = data.get("login")
    if isinstance(login, dict) and login.get("proxy_header") and not login.get("proxies"):
        remedy = 'write proxies = ["127.0.0.1"]'
        message = "the setting has no effect without `proxies`"
        faults.append(_build_settings_fault(file_text, "login.proxy_header", message, remedy))
    faults += _find_defaults_above_limits(data, file_text)
    faults += _find_portal_faults(data, file_text)
    faults += _find_remote_service_faults(data, file_text)
    return sorted(faults, key=lambda fault: fault.place.line or 0)


def _find_defaults_above_limits(data: dict[str, Any], file_text: str) -> Iterator[Fault]:
    """Find defaults that are above their hard limits."""
    pairs = (
        ("limits", "maxrec_default", "maxrec_hard"),
        ("jobs", "seconds", "seconds_hard"),
        ("jobs", "keep_days", "keep_days_hard"),
        ("jobs", "maxrec_default", "maxrec_hard"),
        ("schedule", "retry", "retry_most"),
    )
    for section, default_key, hard_key in pairs:
        section_values = data.get(section, {})
        if not isinstance(section_values, dict):
            continue
        default_settings = collect_settings_sections()[section].settings_class()
        default_value = section_values.get(default_key, getattr(default_settings, default_key))
        hard_value = section_values.get(hard_key, getattr(default_settings, hard_key))
        if not isinstance(default_value, int | float) or not isinstance(hard_value, int | float):
            continue
        if default_value > hard_value:
            default_line = _find_line_of_key(file_text, f"{section}.{default_key}")
            line = default_line or _find_line_of_key(file_text, f"{section}.{hard_key}")
            message = f"{section}.{default_key} ({default_value}) is above {section}.{hard_key} ({hard_value})"
            yield Fault(message=message, place=TextPlace(file=SETTINGS_FILE, line=line))


def _find_remote_service_faults(data: dict[str, Any], file_text: str) -> Iterator[Fault]:
    """Find services with the same name, and EPN-TAP services without tables.

    To find the tables, each search would have to ask each service.
    """
    used_names: set[str] = set()
    for key, entry in _iterate_array_tables(data, "remote"):
        name = str(entry.get("name", ""))
        name_key = f"{key}.name"
        if name in used_names:
            yield _build_settings_fault(file_text, name_key, f"there are two services with the name {name!r}")
        used_names.add(name)
        if entry.get("kind", "epn") == "epn" and not entry.get("tables"):
            remedy = 'name the EPN-TAP tables of the service: tables = ["amdadb.epn_core"]'
            yield _build_settings_fault(file_text, f"{key}.tables", "is missing", remedy, place_key=name_key)


def _find_portal_faults(data: dict[str, Any], file_text: str) -> Iterator[Fault]:
    """Find portals without an address, and portals with the same address."""
    keys_by_place: dict[str, str] = {}
    portals = data.get("portals", {})
    if not isinstance(portals, dict):
        return
    for name, portal in portals.items():
        if not isinstance(portal, dict):
            continue
        key = f"portals.{name}"
        addresses = [portal.get("host"), portal.get("path")]
        places = [str(address).lower() for address in addresses if address]
        if len(places) != 1:
            reason = "the portal has neither host nor path" if not places else "the portal has both a host and a path"
            yield _build_settings_fault(file_text, key, reason, 'write either host = "x.example.org" or path = "/x"')
        first = str(portal.get("path") or "").split("/")[1:2]
        if first and first[0].lower() in RESERVED_PATHS:
            yield _build_settings_fault(file_text, key, f"/{first[0]} is the path of a service", "choose another path")
        for place in places:
            if place in keys_by_place:
                yield _build_settings_fault(
                    file_text,
                    key,
                    f"{keys_by_place[place]} already uses {place}",
                    "give each portal a different host or path",
                )
            keys_by_place.setdefault(place, key)


def find_missing_portal_item_faults(settings: Settings) -> list[Fault]:
    """List the collections, logos and texts that portals name and the site does not have.

    Parameters
    ----------
    settings
        Settings of a site.

    Returns
    -------
    faults
        Warnings, each with its line.
    """
    faults = []
    text = _read_settings_file(settings)
    collection_names = settings.list_collections()
    for portal in settings.portals:
        for name in portal.collections:
            if name not in collection_names:
                remedy = suggest_spelling(name, collection_names) or f"use one of {', '.join(collection_names)}"
                key = f"portals.{portal.name}.collections"
                fault = _build_settings_fault(text, key, f"there is no collection {name!r}", remedy, severity="warning")
                faults.append(fault)
    files = [("logo", settings.logo)]
    for portal in settings.portals:
        names = ("logo", "text", "help")
        files += [(f"portals.{portal.name}.{name}", getattr(portal, name)) for name in names]
    for key, file in files:
        if file and not (settings.directory / file).exists():
            kind = "file"
            if key.endswith(".help"):
                kind = "directory"
            message = f"there is no {kind} {file} beside {SETTINGS_FILE}"
            faults.append(
                _build_settings_fault(text, key, message, "create it, or remove the setting", severity="warning")
            )
    return faults


def find_unavailable_section_faults(settings: Settings) -> list[Fault]:
    """List settings that cannot be applied: modules that they need are not installed, or the site leaves a package out.

    Parameters
    ----------
    settings
        Settings of a site.

    Returns
    -------
    faults
        Faults, each with the line of the section and the remedy.
    """
    faults = []
    file_text = _read_settings_file(settings)
    for section in list_plugin_settings_sections():
        default: object = () if section.is_repeated else section.settings_class()
        if settings.brought[section.key] == default:
            continue
        try:
            plugins.require_modules("it", *section.required_modules)
        except UserError as error:
            faults.append(_build_settings_fault(file_text, section.name, error.message, error.remedy))
    for key, package in _find_disabled_package_settings(tomllib.loads(file_text)):
        message = f"the setting belongs to the plug-in package {package}, but `plugins` does not list this package"
        remedy = f"add {package!r} to `plugins`, or remove the setting"
        faults.append(_build_settings_fault(file_text, key, message, remedy, severity="warning"))
    unused_error = plugins.find_disabled_plugin_error("engines", settings.engine)
    if unused_error is not None:
        faults.append(_build_settings_fault(file_text, "engine", unused_error.message, unused_error.remedy))
    return faults


def _read_settings_file(settings: Settings) -> str:
    return (settings.directory / SETTINGS_FILE).read_text(encoding="utf-8-sig")


def _find_line_of_key(file_text: str, key: str) -> int | None:
    """Find the line of a dotted key; `alias.1.to` counts the tables of an array from 0."""
    line = _find_exact_line_of_key(file_text, key)
    # the key may be in an inline table, or the position in a list
    if line is None and "." in key:
        return _find_line_of_key(file_text, key.rpartition(".")[0])
    return line


def _find_exact_line_of_key(file_text: str, key: str) -> int | None:
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
        if match is None or (is_array_table and number != index):
            continue
        row_key = f"{section}.{match[1]}" if section else match[1]
        if row_key == ".".join([*section_steps, steps[-1]]):
            return line
    return header_line


def _map_variables_to_settings() -> dict[str, str]:
    """Map variables of the environment to the settings that have a single value."""
    sections = collect_settings_sections()
    repeated_sections = {name for name, section in sections.items() if section.is_repeated}
    compound_settings = {"ceilings", "defaults", "rules"} | repeated_sections
    settings_by_variable = {}
    for name in collect_setting_metadata():
        if name not in sections and name.partition(".")[0] not in compound_settings:
            settings_by_variable[_format_variable_name(name)] = name
    return settings_by_variable


def _format_variable_name(key: str) -> str:
    return VARIABLE_PREFIX + key.replace(".", "_").upper()


def _read_environment_settings(environment: Mapping[str, str], faults: list[Fault]) -> dict[str, Any]:
    """Read the variables. A name that is close to that of a setting is a fault; other names may be secrets."""
    settings_by_variable = _map_variables_to_settings()
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(VARIABLE_PREFIX):
            continue
        if variable in settings_by_variable:
            key = settings_by_variable[variable]
            if collect_setting_metadata()[key]["size"]:
                values[key] = parse_byte_size_if_text(value)
            elif collect_setting_metadata()[key]["many"]:
                values[key] = value.split(",")
            else:
                values[key] = value
            continue
        similar_variable = find_close_match(variable, settings_by_variable, 0.85)
        if similar_variable is not None:
            message = f"there is no setting {variable}"
            remedy = f"did you mean {similar_variable}?"
            faults.append(Fault(message=message, place=TextPlace(file="environment"), remedy=remedy))
    return values


def _group_keys_by_section(values_by_key: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    _set_values_by_key(data, values_by_key)
    return data


def _set_values_by_key(data: dict[str, Any], values_by_key: Mapping[str, Any]) -> None:
    """Set values in nested data, by dotted keys."""
    for key, value in values_by_key.items():
        section, _, name = key.rpartition(".")
        table = data
        if section:
            table = data.setdefault(section, {})
        table[name] = value


def _build_settings(directory: Path, data: dict[str, Any]) -> Settings:
    values = validate_and_convert_settings(data)
    if values.get("store", "").startswith("$"):
        values["store"] = resolve_secret(directory, values["store"])
    if "public_url" in values:
        values["public_url"] = values["public_url"].rstrip("/")
        values.setdefault("root_path", re.sub(r"^https?://[^/]+", "", values["public_url"]))
    return Settings(directory=directory, **values)

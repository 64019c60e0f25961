"""What may stand in hven.toml, read off the fields of the dataclasses.

All keys with their documentation, and pydantic's view of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from hven.model import plugins
from hven.model.settings._sections import SettingsSection, build_setting_metadata, has_named_entries
from hven.model.settings._setting_examples import SECTION_EXAMPLES
from hven.model.settings._site_settings import Settings

if TYPE_CHECKING:
    from pydantic import BaseModel


_BYTE_UNIT_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_BYTE_SIZE_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
_NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,40}$"


def parse_byte_size_if_text(value: object) -> object:
    """Parse a number of bytes.

    Parameters
    ----------
    value
        ``2 GiB``, ``500M``, or a number.

    Returns
    -------
    bytes
        A whole number; what cannot be read comes back as it is, for pydantic to refuse.
    """
    if isinstance(value, str):
        match = _BYTE_SIZE_PATTERN.fullmatch(value)
    else:
        match = None
    if match:
        return round(float(match[1]) * _BYTE_UNIT_FACTORS[match[2].lower()])
    return value


def _evaluate_annotations(settings_class: type) -> dict[str, Any]:
    """Evaluate the annotations of a dataclass of settings, which name what pydantic has without importing it."""
    # a tenth of a second, which `hven --help` does not need
    from pydantic import AfterValidator, Field  # noqa: PLC0415

    localns = {"AfterValidator": AfterValidator, "Field": Field}
    return get_type_hints(settings_class, localns=localns, include_extras=True)


@plugins.cache_until_selection
def list_plugin_settings_sections() -> tuple[SettingsSection, ...]:
    """Return the sections, and parts of sections, that engines and packages bring."""
    engine_records = (
        vars(plugins.load_plugin("engines", name)).get("KIND") for name in plugins.list_plugins("engines")
    )
    engine_sections = [
        section for engine_record in engine_records if engine_record for section in engine_record.settings
    ]
    return (*engine_sections, *(section for _, section in plugins.iterate_package_objects("settings")))


def collect_disabled_package_settings() -> dict[str, str]:
    """Return the sections and settings of packages that the settings leave out.

    Returns
    -------
    packages
        Name of the package by the section, or by ``section.setting`` of a part.
    """
    packages_by_key = {}
    for package in plugins.list_disabled_packages():
        for _, section in plugins.iterate_package_objects("settings", [package]):
            if section.part:
                keys = [f"{section.name}.{item.name}" for item in fields(section.settings_class)]
            else:
                keys = [section.name]
            packages_by_key.update(dict.fromkeys(keys, package.name))
    return packages_by_key


@plugins.cache_until_selection
def collect_settings_sections() -> Mapping[str, SettingsSection]:
    """Return all sections by name, and parts of sections by their keys."""
    sections_by_name = {}
    for name, hint in _evaluate_annotations(Settings).items():
        is_repeated = get_origin(hint) is tuple
        settings_class: Any = get_args(hint)[0] if is_repeated else hint
        if is_dataclass(settings_class):
            section_class: Any = settings_class
            sections_by_name[name] = SettingsSection(
                name=name,
                settings_class=section_class,
                is_repeated=is_repeated,
                example_text=SECTION_EXAMPLES.get(name, ""),
            )
    return sections_by_name | {section.key: section for section in list_plugin_settings_sections()}


@plugins.cache_until_selection
def collect_setting_metadata() -> Mapping[str, Mapping[str, Any]]:
    """Return what is `build_setting_metadata` of every setting, ``limits.seconds`` as one word."""
    metadata_by_key: dict[str, Mapping[str, Any]] = {}
    added_sections = [section for section in list_plugin_settings_sections() if not section.part]

    def add_sections_after(setting_name: str) -> None:
        for section in added_sections:
            if section.previous_setting == setting_name and section.name not in metadata_by_key:
                metadata_by_key[section.name] = build_setting_metadata(section.doc)
                add_sections_after(section.name)

    for item in fields(Settings):
        if item.metadata:
            metadata_by_key[item.name] = item.metadata
        add_sections_after(item.name)
    for section in added_sections:  # the package of the previous setting may be absent
        metadata_by_key.setdefault(section.name, build_setting_metadata(section.doc))
    return metadata_by_key | {
        f"{section.name}.{item.name}": item.metadata
        for section in collect_settings_sections().values()
        for item in fields(section.settings_class)
    }


def collect_setting_docs() -> dict[str, str]:
    """List the line of documentation of every setting.

    Returns
    -------
    docs
        Documentation by the name of the setting, ``limits.seconds``.
    """
    return {name: metadata["doc"] for name, metadata in collect_setting_metadata().items()}


def iterate_location_specific_settings(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """List what is set and belongs to one place.

    Parameters
    ----------
    settings
        Settings of a site.

    Yields
    ------
    name, value, effect
        The setting, its value, and what it would do in another place.
    """
    yield from _iterate_location_specific_values(Settings, settings, "")
    for key, section in collect_settings_sections().items():
        holder = settings.brought.get(key, getattr(settings, key, None))
        yield from _iterate_location_specific_values(section.settings_class, holder, f"{section.name}.")


def _iterate_location_specific_values(
    settings_class: Any, holder: object, prefix: str
) -> Iterator[tuple[str, Any, str]]:
    """List the settings of a dataclass that are set and belong to one place; a repeated section has none."""
    for item in fields(settings_class):
        effect = item.metadata.get("placed")
        value = getattr(holder, item.name, item.default)
        if effect and value != item.default:
            yield f"{prefix}{item.name}", value, effect


@plugins.cache_until_selection
def build_settings_file_model(present_names: frozenset[str]) -> type[BaseModel]:
    """Make the model of a file with these keys: the same bounds and patterns."""
    from pydantic import create_model  # noqa: PLC0415  (as above)

    model = _build_section_model("SettingsFile", Settings, present_names=present_names)
    section_fields = {}
    for section in list_plugin_settings_sections():
        whole_section = collect_settings_sections().get(section.name)
        if section.name not in present_names or whole_section is None:  # a part of a section that is not there
            continue
        if whole_section.is_repeated:
            settings_class: Any = whole_section.settings_class
            toml_type = _to_toml_type(tuple[settings_class, ...], section.name)
        else:
            part_classes = [part.settings_class for part in find_section_parts(section.name)]
            toml_type = _build_section_model(section.name.capitalize(), whole_section.settings_class, *part_classes)
        section_fields[section.name] = (toml_type | None, None)
    return create_model("SettingsFile", __base__=model, **section_fields)  # type: ignore[call-overload, no-any-return]


def find_section_parts(section_name: str) -> list[SettingsSection]:
    """Find the parts that packages add to a section."""
    return [section for section in list_plugin_settings_sections() if section.name == section_name and section.part]


def _build_section_model(
    name: str, *settings_classes: type, present_names: Collection[str] | None = None
) -> type[BaseModel]:
    """Make the model of a section, with some of its keys; None: with all."""
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415  (as above)

    model_fields: dict[str, Any] = {}
    for settings_class in settings_classes:
        hints = _evaluate_annotations(settings_class)
        for item in fields(settings_class):
            is_present = present_names is None or item.name in present_names
            if not item.metadata or item.metadata.get("is_section_name") or not is_present:
                continue
            toml_type = _to_toml_type(hints[item.name], item.name)
            is_required = item.default is item.default_factory is MISSING
            model_fields[item.name] = (
                toml_type if is_required else toml_type | None,
                Field(... if is_required else None, **item.metadata["rule"]),
            )
    return create_model(name, __config__=ConfigDict(extra="forbid", defer_build=True), **model_fields)


def _to_toml_type(hint: Any, setting_name: str) -> Any:
    """Return the type that TOML has for one of a dataclass."""
    from pydantic import BeforeValidator, StringConstraints  # noqa: PLC0415  (as above)

    origin = get_origin(hint)
    inner = get_args(hint)
    if is_dataclass(hint):
        return _build_section_model(setting_name.capitalize(), hint)  # type: ignore[arg-type]
    if origin is UnionType:
        return _to_toml_type(inner[0], setting_name)
    if origin is Mapping:
        return dict[inner[0], inner[1]]  # type: ignore[valid-type]
    if origin is not tuple:
        return Annotated[hint, BeforeValidator(_refuse_boolean)] if hint in {int, float} else hint
    if has_named_entries(inner[0]):
        key = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
        return dict[key, _build_section_model(f"{setting_name.capitalize()}Entry", inner[0])]  # type: ignore[misc]
    item_type: Any = inner[0]
    if is_dataclass(item_type):
        item_type = _build_section_model(f"{setting_name.capitalize()}Entry", item_type)  # type: ignore[arg-type]
    return list[item_type]


def _refuse_boolean(value: object) -> object:
    """Refuse true and false where a number is expected: pydantic would read 1 and 0."""
    if isinstance(value, bool):
        message = f"must be a number; it is {str(value).lower()}"
        raise ValueError(message)  # noqa: TRY004  (pydantic reports only this class)
    return value


def validate_and_convert_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Check what was read; return what `Settings` is made of.

    Raises
    ------
    pydantic.ValidationError
        Something is wrong.
    """
    model = build_settings_file_model(frozenset(data))
    values = _convert_lists_to_tuples(model.model_validate(data).model_dump(exclude_none=True))
    sections_by_key = collect_settings_sections()
    settings_by_key = {
        key: _build_section_values(section, values.get(section.name, {})) for key, section in sections_by_key.items()
    }
    brought_keys = [section.key for section in list_plugin_settings_sections()]
    brought = {key: settings_by_key.pop(key) for key in brought_keys}
    for key in brought_keys:
        values.pop(key, None)
    values |= settings_by_key
    values["remote"] = tuple(
        replace(section, tables=("ivoa.obscore",)) if section.kind == "obscore" and not section.tables else section
        for section in values["remote"]
    )
    values["brought"] = brought
    return values


def _build_section_values(section: SettingsSection, toml_values: Any) -> Any:
    """Build the dataclass of a section or a part of one, or a tuple of them, from what the file has."""
    if not section.is_repeated:
        names = {item.name for item in fields(section.settings_class)}
        own_values = {name: value for name, value in toml_values.items() if name in names}
        return section.settings_class(**_convert_lists_to_tuples(own_values))
    entries = toml_values
    if has_named_entries(section.settings_class):
        entries = [{"name": key, **item} for key, item in toml_values.items()]
    return tuple(section.settings_class(**_convert_lists_to_tuples(item)) for item in entries)


def _convert_lists_to_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert lists to tuples, which frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}

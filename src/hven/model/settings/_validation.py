"""What may stand in hven.toml, read off the fields of the dataclasses.

All keys with their documentation, and pydantic's view of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from hven.model import plugins
from hven.model.settings._sections import (
    IdentityProviderSettings,
    PortalSettings,
    ProjectSettings,
    SampleReaderProgram,
    SettingsSection,
    build_setting_metadata,
)
from hven.model.settings._setting_examples import SECTION_EXAMPLES
from hven.model.settings._site_settings import Settings

if TYPE_CHECKING:
    from pydantic import BaseModel

_BYTE_UNIT_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_BYTE_SIZE_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
NAMED_SECTION_CLASSES = (
    PortalSettings,
    ProjectSettings,
    IdentityProviderSettings,
    SampleReaderProgram,
)  # each in a section with its name: [portals.NAME]
_NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,40}$"


def parse_byte_size(value: object) -> object:
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


@cache
def list_engine_settings_sections() -> tuple[SettingsSection, ...]:
    """Return the sections that engines bring."""
    engine_records = (
        vars(plugins.load_plugin("engines", name)).get("KIND") for name in plugins.list_plugins("engines")
    )
    return tuple(section for engine_record in engine_records if engine_record for section in engine_record.settings)


@cache
def collect_settings_sections() -> Mapping[str, SettingsSection]:
    """Return all sections by name."""
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
    return sections_by_name | {section.name: section for section in list_engine_settings_sections()}


@cache
def collect_setting_metadata() -> Mapping[str, Mapping[str, Any]]:
    """Return what is `build_setting_metadata` of every setting, ``limits.seconds`` as one word."""
    metadata_by_key: dict[str, Mapping[str, Any]] = {}
    for item in fields(Settings):
        if item.metadata:
            metadata_by_key[item.name] = item.metadata
        metadata_by_key |= {
            section.name: build_setting_metadata(section.doc)
            for section in list_engine_settings_sections()
            if section.previous_setting == item.name
        }
    return metadata_by_key | {
        f"{name}.{item.name}": item.metadata
        for name, section in collect_settings_sections().items()
        for item in fields(section.settings_class)
    }


def collect_setting_docs() -> dict[str, str]:
    """List the line of documentation of every setting.

    Returns
    -------
    docs
        By the name of the setting, ``limits.seconds``.
    """
    return {name: metadata["doc"] for name, metadata in collect_setting_metadata().items()}


def iterate_site_specific_settings(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """List what is set and belongs to one place.

    Parameters
    ----------
    settings
        Of a site.

    Yields
    ------
    name, value, effect
        The setting, its value, and what it would do in another place.
    """
    for name, metadata in collect_setting_metadata().items():
        if metadata["placed"]:
            section, _, key = name.rpartition(".")
            if section:
                holder = settings.brought.get(section) or getattr(settings, section, None)
            else:
                holder = settings
            default = next(
                item.default
                for item in fields(collect_settings_sections()[section].settings_class if section else Settings)
                if item.name == key
            )
            value = getattr(holder, key, default)
            if value != default:
                yield name, value, metadata["placed"]


@cache
def build_settings_file_model() -> type[BaseModel]:
    """Make the model of the file: the same keys, bounds and patterns."""
    from pydantic import create_model  # noqa: PLC0415  (as above)

    model = _build_section_model("SettingsFile", Settings)
    engine_fields = {}
    for section in list_engine_settings_sections():
        kind: Any = section.settings_class
        if section.is_repeated:
            kind = tuple[kind, ...]
        engine_fields[section.name] = (_to_toml_type(kind, section.name) | None, None)
    return create_model("SettingsFile", __base__=model, **engine_fields)  # type: ignore[call-overload, no-any-return]


def _build_section_model(name: str, settings_class: type) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415  (as above)

    hints = _evaluate_annotations(settings_class)
    model_fields: dict[str, Any] = {}
    for item in fields(settings_class):
        if item.metadata and not (
            settings_class in NAMED_SECTION_CLASSES and item.name == "name"
        ):  # that is its section's
            toml_type = _to_toml_type(hints[item.name], item.name)
            is_required = item.default is item.default_factory is MISSING
            model_fields[item.name] = (
                toml_type if is_required else toml_type | None,
                Field(... if is_required else None, **item.metadata["rule"]),
            )
    return create_model(name, __config__=ConfigDict(extra="forbid"), **model_fields)


def _to_toml_type(hint: Any, setting_name: str) -> Any:
    """Return the type that TOML has for one of a dataclass."""
    from pydantic import StringConstraints  # noqa: PLC0415  (as above)

    origin = get_origin(hint)
    inner = get_args(hint)
    if is_dataclass(hint):
        return _build_section_model(setting_name.capitalize(), hint)  # type: ignore[arg-type]
    if origin is UnionType:
        return _to_toml_type(inner[0], setting_name)
    if origin is Mapping:
        return dict[inner[0], inner[1]]  # type: ignore[valid-type]
    if origin is not tuple:
        return hint
    if inner[0] in NAMED_SECTION_CLASSES:
        key = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
        return dict[key, _build_section_model(f"{setting_name.capitalize()}Entry", inner[0])]  # type: ignore[misc]
    item_type: Any = inner[0]
    if is_dataclass(item_type):
        item_type = _build_section_model(f"{setting_name.capitalize()}Entry", item_type)  # type: ignore[arg-type]
    return list[item_type]


def validate_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Check what was read; return what `Settings` is made of.

    Raises
    ------
    pydantic.ValidationError
        Something is wrong.
    """
    values = _convert_lists_to_tuples(build_settings_file_model().model_validate(data).model_dump(exclude_none=True))
    for name, section in collect_settings_sections().items():
        section_values = values.get(name, {})
        if section.settings_class in NAMED_SECTION_CLASSES:
            section_values = [{"name": key, **item} for key, item in section_values.items()]
        if section.is_repeated:
            values[name] = tuple(section.settings_class(**_convert_lists_to_tuples(item)) for item in section_values)
        else:
            values[name] = section.settings_class(**_convert_lists_to_tuples(section_values))
    values["remote"] = tuple(
        replace(section, tables=("ivoa.obscore",)) if section.kind == "obscore" and not section.tables else section
        for section in values["remote"]
    )
    values["brought"] = {section.name: values.pop(section.name) for section in list_engine_settings_sections()}
    return values


def _convert_lists_to_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert lists to tuples, which frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}

"""What may stand in hven.toml, read off the fields of the dataclasses: all keys with their documentation, and pydantic's view of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from hven.model import plugins
from hven.model.settings._sections import IdentityProvider, Portal, Project, ReaderProgram, Section, said
from hven.model.settings._shape import Settings

if TYPE_CHECKING:
    from pydantic import BaseModel

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
NAMED = (Portal, Project, IdentityProvider, ReaderProgram)  # each in a section with its name: [portals.NAME]
_NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,40}$"


def read_bytes(value: object) -> object:
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
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    return round(float(match[1]) * _UNITS[match[2].lower()]) if match else value


def _read_annotations(kind: type) -> dict[str, Any]:
    """Evaluate the annotations of a dataclass of settings, which name what pydantic has without importing it."""
    from pydantic import AfterValidator, Field  # noqa: PLC0415  (a tenth of a second, which `hven --help` does not need)

    return get_type_hints(kind, localns={"AfterValidator": AfterValidator, "Field": Field}, include_extras=True)


@cache
def brought() -> tuple[Section, ...]:
    """Return the sections that engines bring."""
    kinds = (vars(plugins.load("engines", name)).get("KIND") for name in plugins.names("engines"))
    return tuple(one for kind in kinds if kind for one in kind.settings)


@cache
def sections() -> Mapping[str, Section]:
    """Return all sections by name."""
    found = {}
    for name, hint in _read_annotations(Settings).items():
        many = get_origin(hint) is tuple
        kind = get_args(hint)[0] if many else hint
        if is_dataclass(kind):
            found[name] = Section(name=name, kind=kind, many=many)  # type: ignore[arg-type]
    return found | {one.name: one for one in brought()}


@cache
def keys() -> Mapping[str, Mapping[str, Any]]:
    """Return what is `said` of every setting, ``limits.seconds`` as one word."""
    found: dict[str, Mapping[str, Any]] = {}
    for item in fields(Settings):
        if item.metadata:
            found[item.name] = item.metadata
        found |= {one.name: said(one.doc) for one in brought() if one.after == item.name}
    return found | {
        f"{name}.{item.name}": item.metadata for name, one in sections().items() for item in fields(one.kind)
    }


def docs() -> dict[str, str]:
    """List the line of documentation of every setting.

    Returns
    -------
    docs
        By the name of the setting, ``limits.seconds``.
    """
    return {name: one["doc"] for name, one in keys().items()}


def placed(settings: Settings) -> Iterator[tuple[str, Any, str]]:
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
    for name, one in keys().items():
        if one["placed"]:
            section, _, key = name.rpartition(".")
            holder = (settings.brought.get(section) or getattr(settings, section, None)) if section else settings
            default = next(
                item.default for item in fields(sections()[section].kind if section else Settings) if item.name == key
            )
            value = getattr(holder, key, default)
            if value != default:
                yield name, value, one["placed"]


@cache
def checked() -> type[BaseModel]:
    """Make the model of the file: the same keys, bounds and patterns."""
    from pydantic import create_model  # noqa: PLC0415  (as above)

    model = _model("SettingsFile", Settings)
    more = {}
    for one in brought():
        kind = tuple[one.kind, ...] if one.many else one.kind  # type: ignore[name-defined]
        more[one.name] = (_form(kind, one.name) | None, None)
    return create_model("SettingsFile", __base__=model, **more)  # type: ignore[call-overload, no-any-return]


def _model(name: str, kind: type) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415  (as above)

    hints = _read_annotations(kind)
    made: dict[str, Any] = {}
    for item in fields(kind):
        if item.metadata and not (kind in NAMED and item.name == "name"):  # that is its section's
            form, needed = _form(hints[item.name], item.name), item.default is item.default_factory is MISSING
            made[item.name] = (form if needed else form | None, Field(... if needed else None, **item.metadata["rule"]))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **made)


def _form(hint: Any, name: str) -> Any:
    """Return the type that TOML has for one of a dataclass."""
    from pydantic import StringConstraints  # noqa: PLC0415  (as above)

    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _model(name.capitalize(), hint)  # type: ignore[arg-type]
    if origin is UnionType:
        return _form(inner[0], name)
    if origin is Mapping:
        return dict[inner[0], inner[1]]  # type: ignore[valid-type]
    if origin is not tuple:
        return hint
    if inner[0] in NAMED:
        key = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
        return dict[key, _model(f"{name.capitalize()}Entry", inner[0])]  # type: ignore[misc]
    return list[_model(f"{name.capitalize()}Entry", inner[0]) if is_dataclass(inner[0]) else inner[0]]  # type: ignore[arg-type, misc]


def records(data: Mapping[str, Any]) -> dict[str, Any]:
    """Check what was read; return what `Settings` is made of.

    Raises
    ------
    pydantic.ValidationError
        Something is wrong.
    """
    read = _tupled(checked().model_validate(data).model_dump(exclude_none=True))
    for name, one in sections().items():
        given = read.get(name, {})
        if one.kind in NAMED:
            given = [{"name": key, **item} for key, item in given.items()]
        read[name] = tuple(one.kind(**_tupled(item)) for item in given) if one.many else one.kind(**_tupled(given))
    read["remote"] = tuple(
        replace(one, tables=("ivoa.obscore",)) if one.kind == "obscore" and not one.tables else one
        for one in read["remote"]
    )
    read["brought"] = {one.name: read.pop(one.name) for one in brought()}
    return read


def _tupled(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert lists to tuples, which frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}

"""Param: one request parameter said once; HTTP parsing, VOSI interfaces, descriptors and forms are derived."""

from __future__ import annotations

from dataclasses import dataclass

from hven.model.types import STRING, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of a service (DALI 1.1 section 3).

    Attributes
    ----------
    name
        Upper case; requests are matched without case.
    many
        True if it may be repeated.
    allowed
        The only values that are legal, or empty.
    minimum, maximum
        Inclusive bounds of a number.
    """

    name: str
    type: Type = STRING
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str | None = None
    default: str | None = None
    required: bool = False
    many: bool = False
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

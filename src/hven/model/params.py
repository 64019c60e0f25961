"""Describe parameters of services, for HTTP, VOSI, descriptors and forms, and read those of a request or job."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO

from hven.model.errors import ParamError
from hven.model.types import STRING, ColumnType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """Describe a parameter of a service (DALI 1.1 section 3).

    Attributes
    ----------
    name
        Upper case; requests are matched without case.
    type
        Type of a value.
    unit
        VOUnits; None: it has none.
    ucd
        UCD1+.
    utype
        Role in a data model.
    description
        Text that follows "give the ..", without an article.
    default
        The default as it would be sent; None if there is none.
    required
        Whether requests without it are refused.
    many
        Whether it may be repeated.
    allowed
        The allowed values; empty if all are.
    minimum, maximum
        Inclusive bounds of a number.
    period
        Period of a cyclic number, in its unit: 360 for a longitude in degrees. A value up to one period outside the
        bounds is moved into them, because clients send right ascensions such as -0.2 and 360.5. None if it is not
        cyclic.
    """

    name: str
    type: ColumnType = STRING
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
    period: float | None = None


_NUMBER_PATTERN = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
MAX_INT64 = 2**63 - 1
_MAX_INTEGER_CHARACTERS = 100
_INTEGER_PATTERN = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """Hold a file of a multipart request.

    A small file is in memory, a large one on disk until `RequestParams.close`.

    Attributes
    ----------
    name
        Name of its part of the request.
    size
        Size in bytes.
    media_type
        The media type that the client sent, or None.
    filename
        The client's name of the file, which may be wrong.
    """

    name: str
    file: BinaryIO
    size: int
    media_type: str | None = None
    filename: str = ""

    @property
    def content(self) -> bytes:
        """All bytes of the file."""
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True, slots=True)
class RequestParams:
    """The parameters of one request: upper-case name -> values in order (DALI 1.1 section 3.1).

    Attributes
    ----------
    files
        Name of a part -> its file.
    """

    values: Mapping[str, tuple[str, ...]]
    files: Mapping[str, UploadedFile] = field(default_factory=dict)

    def close(self) -> None:
        """Close the files."""
        for upload in self.files.values():
            upload.file.close()

    def read_one(self, name: str, default: str | None = None) -> str | None:
        """Return a single-valued parameter; an empty value counts as absent.

        Parameters
        ----------
        name
            Name in upper case.
        default
            Value if the parameter is absent.

        Returns
        -------
        value
            The value as it was sent.

        Raises
        ------
        ParamError
            It came more than once with different values.
        """
        values = self.values.get(name, ())
        if len(values) < 2:
            first_value = values[0] if values else None
            return first_value or default
        distinct_values = {value for value in values if value != ""}
        if len(distinct_values) > 1:
            message = f"{name} is given {len(self.values[name])} times, with different values"
            raise ParamError(message, name=name, remedy="give the parameter only once")
        if distinct_values:
            return distinct_values.pop()
        return default

    def list_unused_names(self, declared_params: Iterable[Param], *more_names: str) -> tuple[str, ...]:
        """List the parameters of the request that no part of the service reads.

        Parameters without a value do not count, nor does RUNID, which is for logs (DALI 1.1, 3.4.6).

        Parameters
        ----------
        declared_params
            The parameters that the service declares.
        more_names
            Further names, in upper case, that the service reads.

        Returns
        -------
        names
            Names in upper case, in the order of the request.
        """
        known_names = {"RUNID", *more_names, *map(attrgetter("name"), declared_params)}
        if known_names.issuperset(self.values):
            return ()
        return tuple(name for name, values in self.values.items() if name not in known_names and any(values))

    def read_all(self, name: str) -> tuple[str, ...]:
        """Return every value of a parameter that may be repeated.

        Parameters
        ----------
        name
            Name in upper case.

        Returns
        -------
        values
            The values in the order of the request; empty if it is absent.
        """
        return self.values.get(name, ())

    def read_number(
        self,
        name: str,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        period: float | None = None,
        unit: str | None = None,
    ) -> float | None:
        """Parse a parameter as a number (DALI 1.1, 3.3.1).

        Parameters
        ----------
        name
            Name in upper case.
        minimum, maximum
            Inclusive bounds in the unit of the parameter; None: no bound.
        period
            As of `Param`, in the unit of the parameter.
        unit
            Unit of the parameter, for the message.

        Returns
        -------
        number
            In the unit of the parameter; None if it is absent.

        Raises
        ------
        ParamError
            Not a finite number, or out of bounds.
        """
        text = self.read_one(name)
        if text is None:
            return None
        is_special = text.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}
        if not is_special and not _NUMBER_PATTERN.fullmatch(text):
            message = f"{name}={text!r} is not a number"
            quantity = {None: "a number", "deg": "decimal degrees"}.get(unit, f"a number in {unit}")
            raise ParamError(message, name=name, remedy=f"write {quantity} such as 83.633")
        value = float(text)
        if not math.isfinite(value):
            raise ParamError(f"{name}={text} is not a finite number", name=name)
        if period is not None:
            value = wrap_angle(value, minimum or 0.0, period)
        _check_bounds(name, text, value, minimum, maximum)
        return value

    def read_integer(self, name: str, *, minimum: int = 0, maximum: float | None = None) -> int | None:
        """Parse a parameter as a whole number; a number beyond 64 bits counts as the largest one of 64 bits.

        Parameters
        ----------
        name
            Name in upper case.
        minimum, maximum
            Inclusive bounds in the unit of the parameter; None: no upper bound.

        Returns
        -------
        number
            None if the parameter is absent.

        Raises
        ------
        ParamError
            Not a whole number, or out of bounds.
        """
        text = self.read_one(name)
        if text is None:
            return None
        if not _INTEGER_PATTERN.fullmatch(text):
            raise ParamError(f"{name}={text!r:.60} is not a whole number", name=name)
        # no count is that large, so it means "no bound"; Python itself parses no more than some thousand digits
        if len(text) < _MAX_INTEGER_CHARACTERS:
            value = int(text)
        elif text.lstrip().startswith("-"):
            value = -MAX_INT64
        else:
            value = MAX_INT64
        value = min(value, MAX_INT64)
        if value < minimum:
            raise ParamError(
                f"{name}={text:.60} is too small", name=name, remedy=f"give a number that is at least {minimum}"
            )
        _check_bounds(name, text, value, None, maximum)
        return value

    def check_values(self, declared_params: Iterable[Param]) -> None:
        """Check values against what a service declares; unknown names are ignored (DALI 1.1, 3.1).

        Parameters
        ----------
        declared_params
            The parameters that the service declares.

        Raises
        ------
        ParamError
            A required parameter is absent, or a value is not among the allowed ones.
        """
        for param in declared_params:
            values = self.values.get(param.name, ())
            if param.required and not any(values):
                raise ParamError(f"{param.name} is missing", name=param.name, remedy=param.description or "")
            if param.allowed:
                for value in values:
                    if value and value not in param.allowed:
                        remedy = f"use one of {', '.join(param.allowed)}"
                        raise ParamError(f"{param.name}={value!r} is not valid", name=param.name, remedy=remedy)


def wrap_angle(value: float, minimum: float, period: float) -> float:
    """Move an angle that is at most one turn outside a range into the range.

    Parameters
    ----------
    value
        In degrees, or in the unit of the period.
    minimum
        Begin of the range, in the same unit; the range ends one period later, and includes the end.
    period
        Length of the range in the same unit.

    Returns
    -------
    value
        The same angle within the range, in the same unit; an angle farther outside is returned as it is.
    """
    if minimum - period <= value < minimum:
        return value + period
    if minimum + period < value <= minimum + 2 * period:
        return value - period
    return value


def describe_bounds(minimum: str | None, maximum: str | None) -> str:
    """Describe the bounds of a number, as in ``a number from 1 to 5`` or ``a number of at least 1``.

    Parameters
    ----------
    minimum, maximum
        The least and the largest number, as texts; None: there is no such bound.

    Returns
    -------
    bounds
        The words behind "a number"; empty if there are no bounds.
    """
    if minimum is not None and maximum is not None:
        return f"from {minimum} to {maximum}"
    if minimum is not None:
        return f"of at least {minimum}"
    if maximum is not None:
        return f"of at most {maximum}"
    return ""


def _check_bounds(parameter_name: str, text: str, value: float, minimum: float | None, maximum: float | None) -> None:
    if (minimum is None or value >= minimum) and (maximum is None or value <= maximum):
        return
    bounds = describe_bounds(None if minimum is None else f"{minimum:g}", None if maximum is None else f"{maximum:g}")
    raise ParamError(
        f"{parameter_name}={text:.60} is out of range", name=parameter_name, remedy=f"give a number {bounds}"
    )


def collect_params(pairs: Iterable[tuple[str, str]], files: Mapping[str, UploadedFile] | None = None) -> RequestParams:
    """Group name-value pairs by names in upper case.

    Parameters
    ----------
    pairs
        The pairs of the query string and of the body, in their order.
    files
        The files of a multipart request, by name.

    Returns
    -------
    params
        Each name with its values in order.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.upper(), []).append(value)
    return RequestParams(dict(zip(values, map(tuple, values.values()), strict=True)), files or {})

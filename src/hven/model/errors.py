"""The family tree of errors: what went wrong, where, why, and the remedy.

::

    HvenError
     |- UserError            the request, data or descriptor is at fault   exit 1, HTTP 400
     |   |- QueryError       ADQL text: has .line and .column
     |   |   |- ParseError   not in the grammar
     |   |   |- BindError    a name, type or unit that does not fit
     |   |   |- EvaluationError  a value that cannot be computed (overflow, bad cast)
     |   |- ParamError       a request parameter (DALI)
     |   |- DescriptorError  one or more Faults of a descriptor or of hven.toml
     |   |- SourceError      a file or database that cannot be read
     |   |- DataError        rows that break the rules
     |   |   |- Guarded      more rows would go or change than may
     |   |- NotFound         no such table, collection, job, snapshot      HTTP 404
     |   |   |- Gone         it was there, and is not kept any more         HTTP 410
     |   |- Forbidden        known, but not for this reader                HTTP 403
     |   |- Unauthenticated  log in first                                  HTTP 401
     |   |- TooLarge         more than a limit allows                      HTTP 413
     |   |- Conflict         somebody else is at it: a second ingest       HTTP 409
     |   |   |- Outdated     it is in another state than was meant         HTTP 412
     |   |- TooOften         wait before the next attempt                  HTTP 429
     |- UsageError           the command line is at fault                  exit 2
     |- ServiceError         we or the machine are at fault                exit 3, HTTP 500
         |- Timeout          the time limit is over                        HTTP 408
         |- Cancelled        the reader left, or asked to stop             HTTP 499
         |- Overloaded       try again later                               HTTP 503
         |- StorageError     disk full, unreadable snapshot                HTTP 503
             |- Unavailable  a database or the site's disk is away         HTTP 503
             |- Unmergeable  changes do not fit into that snapshot         HTTP 503
         |- FarFault         a server that we ask for the reader fails     HTTP 502
             |- FarSilence   it does not answer in time                    HTTP 504

Inside, code raises plain meaning; `server.errors` and `cli` map class to status once.

Messages with values are made by `say`: they are texts, and know what they were made of, so that a page tells them in its reader's language.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Said(str):
    """A text for people that knows what it was made of; `say` makes them. As a text it is the finished English.

    Attributes
    ----------
    code
        The English with ``{name}`` for each value, by which catalogues know it.
    values
        The values by these names. What of them is `Said` is told in other languages, too; any other stays as it is.
    """

    __slots__ = ("code", "values")
    code: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        """Return it with all that it knows."""
        return self

    def record(self) -> list[Any]:
        """Return what it was made of as plain JSON; `recorded` reads it.

        Returns
        -------
        record
            Code and values; what is no text and no number is written as text.
        """
        plain = (value.record() if isinstance(value, Said) else value for value in self.values.values())
        return [self.code, *(value if isinstance(value, str | int | float | list) else str(value) for value in plain)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what it was made of, in other processes as well."""
        return say, (self.code, *self.values.values())


@cache  # templates are in the code
def _names(code: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(code) if name is not None))


def say(code: str, *values: Any) -> Said:
    """Phrase a message that can be translated: the finished English, which knows its template and values.

    Parameters
    ----------
    code
        The English; with values, ``{name}`` stands for each (``{name!r}``, ``{name:,}`` as in an f-string), and braces are doubled.
        Without values, it is told as it is.
    values
        In the order in which their names come first. An error stands for its message.

    Returns
    -------
    text
        The finished English.

    Raises
    ------
    ValueError
        There are more or fewer values than names.
    """
    if isinstance(code, Said):
        return code
    named = {}
    if values:
        named = dict(zip(_names(code), values, strict=True))
        for name, value in named.items():
            if isinstance(value, BaseException):
                named[name] = say(str(value))
    said = Said(code.format_map(named) if values else code)
    said.code, said.values = code, named
    return said


def recorded(record: Sequence[Any]) -> Said:
    """Restore a text from its `Said.record`.

    Parameters
    ----------
    record
        Code and values, those that were said as such records.

    Returns
    -------
    text
        Equal to the one that was kept.
    """
    code, *values = record
    return say(code, *(recorded(value) if isinstance(value, list) else value for value in values))


def joined(code: str, texts: Iterable[str]) -> str:
    """Join texts so that they can be translated: ``{one}; {other}`` says how two of them are.

    Parameters
    ----------
    code
        As `say` takes it, with two names.
    texts
        What of them is no `Said` stays as it is.

    Returns
    -------
    text
        Empty for none.
    """
    found = tuple(texts)
    half = len(found) // 2
    return say(code, joined(code, found[:half]), joined(code, found[half:])) if half else found[0] if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a text a person wrote: file, 1-based line and column."""

    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """Write the place as ``file:line:column``, as far as it is known."""
        parts = [self.file or ""]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One mistake among possibly many: what, where, and what would be right.

    Attributes
    ----------
    message
        What is wrong and why, without a full stop.
    place
        Where it stands.
    remedy
        What to do about it.
    """

    message: str
    place: Place = Place()
    remedy: str = ""
    severity: str = "error"  # or "warning"

    def __str__(self) -> str:
        """Write ``file:line:column: message; remedy`` on one line."""
        return _placed(str(self.place), self.message, self.remedy)


def _placed(place: str, message: str, remedy: str) -> str:
    text = say("{message}; {remedy}", say(message), say(remedy)) if remedy else message
    return say("{place}: {message}", place, say(text)) if place else text


class HvenError(Exception):
    """Anything Hven tells a person on purpose.

    Parameters
    ----------
    message
        What went wrong and why, one sentence, no trailing full stop.
    place
        Where it stands, if in a text that a person wrote.
    remedy
        What to do about it.
    """

    def __init__(self, message: str, *, place: Place | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message: str = say(message)
        self.place = place or Place()
        self.remedy: str = say(remedy)

    def __str__(self) -> str:
        return _placed(str(self.place), self.message, self.remedy)


class UserError(HvenError):
    """The request, the data or the descriptor is at fault."""


class QueryError(UserError):
    """A fault in ADQL text; `line` and `column` count from 1, `offset` from 0."""

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        offset: int = 0,
        remedy: str = "",
        place: Place | None = None,
    ) -> None:
        self.offset = max(offset, 0)
        before = text[: self.offset]
        self.line = before.count("\n") + 1
        self.column = self.offset - (before.rfind("\n") + 1) + 1
        self.text = text
        super().__init__(message, place=place, remedy=remedy)

    def __str__(self) -> str:
        return _placed(
            str(self.place) or say("line {line}, column {column}", self.line, self.column), self.message, self.remedy
        )


class ParseError(QueryError):
    """The text is not in the grammar."""


class BindError(QueryError):
    """A name, a type or a unit does not fit."""


class EvaluationError(QueryError):
    """A value cannot be computed: overflow, impossible cast, bad pattern."""


class ParamError(UserError):
    """A request parameter is missing, repeated or has no allowed value (DALI section 3)."""

    def __init__(self, message: str, *, name: str = "", remedy: str = "") -> None:
        self.name = name
        super().__init__(message, remedy=remedy)


class DescriptorError(UserError):
    """A descriptor or hven.toml has faults; all of them are in `faults`."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class SourceError(UserError):
    """A file or database cannot be read as described."""


class DataError(UserError):
    """The rows themselves break the rules: see the ingest report."""


class Guarded(DataError):
    """More rows would go or change at once than a guard allows: nothing was published."""


class NotFound(UserError):
    """There is no such thing here (or none that this reader may know of)."""


class Gone(NotFound):
    """It was there once, and is not kept any more."""


class Forbidden(UserError):
    """The reader may not do that."""


class Unauthenticated(UserError):
    """Log in first."""


class TooLarge(UserError):
    """More than a limit allows."""


class Conflict(UserError):
    """Somebody else is doing this at the moment."""


class Outdated(Conflict):
    """Something is in another state than who wants to change it believes."""


class TooOften(UserError):
    """Too many attempts; wait before the next one."""


class UsageError(HvenError):
    """The command line is at fault."""


class ServiceError(HvenError):
    """The machine or this program is at fault, not the reader."""


class Timeout(ServiceError):
    """The time limit of a query is over."""


class Cancelled(ServiceError):
    """The reader left or asked to stop."""


class Overloaded(ServiceError):
    """Too much at once; try again later, in so many `seconds`."""

    def __init__(self, message: str, *, remedy: str = "", seconds: float = 5.0) -> None:
        super().__init__(message, remedy=remedy)
        self.seconds = seconds


class Replaced(Overloaded):
    """The rows that a query was to read were replaced or removed, and forgotten, between its coming and its turn."""


class StorageError(ServiceError):
    """The disk is full, or a snapshot cannot be read."""


class Unavailable(StorageError):
    """What is read in place cannot be had now: a database is away, its table has changed, or the site's directory is not there."""


class FarFault(ServiceError):
    """A server elsewhere, which has what the reader asks us for, does not give it."""


class FarSilence(FarFault):
    """It does not answer in time."""


class Unmergeable(StorageError):
    """A snapshot is written otherwise than its table is now: no changes can be merged into it, all rows must be staged."""


def meant(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Find the known word that is most like another one, whatever their case.

    Parameters
    ----------
    word
        As somebody wrote it.
    known
        The words that there are.
    cutoff
        Least likeness of a match, 0 to 1.

    Returns
    -------
    word
        One of `known`; None if none is like it.
    """
    from difflib import get_close_matches  # noqa: PLC0415  (for those who err)

    lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Phrase the remedy for a word that is not known: ``did you mean 'x'?``.

    Parameters
    ----------
    word
        As somebody wrote it.
    known
        The words that there are.
    cutoff
        Least likeness of a match, 0 to 1.

    Returns
    -------
    remedy
        Empty if none is like it.
    """
    close = meant(word, known, cutoff)
    return say("did you mean {name!r}?", close) if close is not None else ""

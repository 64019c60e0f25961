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
     |   |- TooOften         wait before the next attempt                  HTTP 429
     |- UsageError           the command line is at fault                  exit 2
     |- ServiceError         we or the machine are at fault                exit 3, HTTP 500
         |- Timeout          the time limit is over                        HTTP 408
         |- Cancelled        the reader left, or asked to stop             HTTP 499
         |- Overloaded       try again later                               HTTP 503
         |- StorageError     disk full, unreadable snapshot                HTTP 503
             |- Unavailable  a database or the site's disk is away         HTTP 503
             |- Unmergeable  changes do not fit into that snapshot         HTTP 503

Inside, code raises plain meaning; `server.errors` and `cli` map class to status once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
        head = f"{self.place}: " if str(self.place) else ""
        tail = f"; {self.remedy}" if self.remedy else ""
        return f"{head}{self.message}{tail}"


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
        self.message = message
        self.place = place or Place()
        self.remedy = remedy

    def __str__(self) -> str:
        return str(Fault(message=self.message, place=self.place, remedy=self.remedy))


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
        tail = f"; {self.remedy}" if self.remedy else ""
        head = f"{self.place}: " if str(self.place) else f"line {self.line}, column {self.column}: "
        return f"{head}{self.message}{tail}"


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
    return f"did you mean {close!r}?" if close is not None else ""

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

Messages with values are made by `format_message`: they are texts, and know what they were made of, so that a page tells
them in its reader's language.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class TranslatableMessage(str):
    """A text for people that knows what it was made of; `format_message` makes them.

    As a text it is the finished English.

    Attributes
    ----------
    template
        The English with ``{name}`` for each value, by which catalogues know it.
    values
        The values by these names. What of them is `TranslatableMessage` is told in other languages, too; any other
        stays as it is.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        """Return it with all that it knows."""
        return self

    def to_json(self) -> list[Any]:
        """Return what it was made of as plain JSON; `message_from_json` reads it.

        Returns
        -------
        record
            Code and values; what is no text and no number is written as text.
        """
        plain = (value.to_json() if isinstance(value, TranslatableMessage) else value for value in self.values.values())
        return [
            self.template,
            *(value if isinstance(value, str | int | float | list) else str(value) for value in plain),
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what it was made of, in other processes as well."""
        return format_message, (self.template, *self.values.values())


@cache  # templates are in the code
def _list_placeholders(template: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name is not None))


def format_message(template: str, *values: Any) -> TranslatableMessage:
    """Phrase a message that can be translated: the finished English, which knows its template and values.

    Parameters
    ----------
    template
        The English; with values, ``{name}`` stands for each (``{name!r}``, ``{name:,}`` as in an f-string), and braces
        are doubled. Without values, it is told as it is.
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
    if isinstance(template, TranslatableMessage):
        return template
    values_by_name = {}
    if values:
        values_by_name = dict(zip(_list_placeholders(template), values, strict=True))
        for name, value in values_by_name.items():
            if isinstance(value, BaseException):
                values_by_name[name] = format_message(str(value))
    message = TranslatableMessage(template.format_map(values_by_name) if values else template)
    message.template = template
    message.values = values_by_name
    return message


def message_from_json(record: Sequence[Any]) -> TranslatableMessage:
    """Restore a text from its `TranslatableMessage.to_json`.

    Parameters
    ----------
    record
        Code and values, those that were said as such records.

    Returns
    -------
    text
        Equal to the one that was kept.
    """
    template, *values = record
    return format_message(
        template, *(message_from_json(value) if isinstance(value, list) else value for value in values)
    )


def join_messages(template: str, texts: Iterable[str]) -> str:
    """Join texts so that they can be translated: ``{one}; {other}`` says how two of them are.

    Parameters
    ----------
    template
        As `format_message` takes it, with two names.
    texts
        What of them is no `TranslatableMessage` stays as it is.

    Returns
    -------
    text
        Empty for none.
    """
    messages = tuple(texts)
    half = len(messages) // 2
    if half:
        return format_message(
            template, join_messages(template, messages[:half]), join_messages(template, messages[half:])
        )
    if messages:
        return messages[0]
    return ""


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
        return _format_with_place(str(self.place), self.message, self.remedy)


def _format_with_place(place: str, message: str, remedy: str) -> str:
    text = format_message("{message}; {remedy}", format_message(message), format_message(remedy)) if remedy else message
    if place:
        return format_message("{place}: {message}", place, format_message(text))
    return text


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

    Attributes
    ----------
    label
        What this kind of error is called in metrics and logs. It stays when the class is renamed.
    """

    label: ClassVar[str] = "HvenError"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "label" not in vars(cls):
            cls.label = cls.__name__

    def __init__(self, message: str, *, place: Place | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message: str = format_message(message)
        self.place = place or Place()
        self.remedy: str = format_message(remedy)

    def __str__(self) -> str:
        return _format_with_place(str(self.place), self.message, self.remedy)


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
        return _format_with_place(
            str(self.place) or format_message("line {line}, column {column}", self.line, self.column),
            self.message,
            self.remedy,
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


class ChangeGuardError(DataError):
    """More rows would go or change at once than a guard allows: nothing was published."""

    label = "Guarded"


class NotFoundError(UserError):
    """There is no such thing here (or none that this reader may know of)."""

    label = "NotFound"


class GoneError(NotFoundError):
    """It was there once, and is not kept any more."""

    label = "Gone"


class ForbiddenError(UserError):
    """The reader may not do that."""

    label = "Forbidden"


class UnauthenticatedError(UserError):
    """Log in first."""

    label = "Unauthenticated"


class TooLargeError(UserError):
    """More than a limit allows."""

    label = "TooLarge"


class ConflictError(UserError):
    """Somebody else is doing this at the moment."""

    label = "Conflict"


class PreconditionFailedError(ConflictError):
    """Something is in another state than who wants to change it believes."""

    label = "Outdated"


class TooManyRequestsError(UserError):
    """Too many attempts; wait before the next one."""

    label = "TooOften"


class UsageError(HvenError):
    """The command line is at fault."""


class ServiceError(HvenError):
    """The machine or this program is at fault, not the reader."""


class TimeLimitError(ServiceError):
    """The time limit of a query is over."""

    label = "Timeout"


class OperationCancelledError(ServiceError):
    """The reader left or asked to stop."""

    label = "Cancelled"


class OverloadedError(ServiceError):
    """Too much at once; try again later, in so many `retry_after_seconds`."""

    label = "Overloaded"

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: float = 5.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class RowsReplacedError(OverloadedError):
    """The rows that a query was to read were replaced or removed, and forgotten, between its coming and its turn."""

    label = "Replaced"


class StorageError(ServiceError):
    """The disk is full, or a snapshot cannot be read."""


class StorageUnavailableError(StorageError):
    """What is read in place cannot be had now.

    A database is away, its table has changed, or the site's directory is not there.
    """

    label = "Unavailable"


class UpstreamError(ServiceError):
    """A server elsewhere, which has what the reader asks us for, does not give it."""

    label = "FarFault"


class UpstreamTimeoutError(UpstreamError):
    """It does not answer in time."""

    label = "FarSilence"


class UnmergeableSnapshotError(StorageError):
    """A snapshot is written otherwise than its table is now.

    No changes can be merged into it, all rows must be staged.
    """

    label = "Unmergeable"


def find_close_match(word: str, candidates: Iterable[str], min_similarity: float = 0.6) -> str | None:
    """Find the known word that is most like another one, whatever their case.

    Parameters
    ----------
    word
        As somebody wrote it.
    candidates
        The words that there are.
    min_similarity
        Least likeness of a match, 0 to 1.

    Returns
    -------
    word
        One of `candidates`; None if none is like it.
    """
    from difflib import get_close_matches  # noqa: PLC0415  (for those who err)

    names_by_lower_case = {name.lower(): name for name in candidates}
    close = get_close_matches(word.lower(), names_by_lower_case, n=1, cutoff=min_similarity)
    if close:
        return names_by_lower_case[close[0]]
    return None


def suggest_spelling(word: str, candidates: Iterable[str], min_similarity: float = 0.6) -> str:
    """Phrase the remedy for a word that is not known: ``did you mean 'x'?``.

    Parameters
    ----------
    word
        As somebody wrote it.
    candidates
        The words that there are.
    min_similarity
        Least likeness of a match, 0 to 1.

    Returns
    -------
    remedy
        Empty if none is like it.
    """
    close = find_close_match(word, candidates, min_similarity)
    if close is not None:
        return format_message("did you mean {name!r}?", close)
    return ""

"""Define the hierarchy of errors: what went wrong, where, why, and the remedy.

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
             |- FarSilence   it does not respond in time                    HTTP 504

Inner code raises errors by their meaning; `server.errors` and `cli` map each class to a status.

`format_message` makes messages with values: texts that know their template and values, so that a page can show them in
its reader's language.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class TranslatableMessage(str):
    """Represent a text for people that knows its template and values; `format_message` makes it.

    As a text it is the complete English message.

    Attributes
    ----------
    template
        The English text with ``{name}`` for each value, the key of catalogues.
    values
        The values by these names. Values that are `TranslatableMessage` are translated, too; others stay as they are.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the message itself, with its template and values."""
        return self

    def to_json(self) -> list[Any]:
        """Return the template and the values as plain JSON, for `message_from_json`.

        Returns
        -------
        record
            The template and the values; values that are neither texts nor numbers become texts.
        """
        record: list[Any] = [self.template]
        for value in self.values.values():
            plain_value = value
            if isinstance(value, TranslatableMessage):
                plain_value = value.to_json()
            is_json = isinstance(plain_value, str | int | float | list)
            record.append(plain_value if is_json else str(plain_value))
        return record

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the template and the values when the message is pickled."""
        return format_message, (self.template, *self.values.values())


@cache  # templates are in the code
def _list_placeholders(template: str) -> tuple[str, ...]:
    names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    return tuple(dict.fromkeys(names))


def format_message(template: str, *values: Any) -> TranslatableMessage:
    """Format a message that can be translated: the complete English text, which knows its template and values.

    Parameters
    ----------
    template
        The English text. With values, ``{name}`` stands for each (``{name!r}``, ``{name:,}`` as in an f-string), and
        braces are doubled. Without values, it is used as it is.
    values
        The values in the order in which their names appear first. An error stands for its message.

    Returns
    -------
    text
        The complete English text.

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
    """Restore a message from its `TranslatableMessage.to_json`.

    Parameters
    ----------
    record
        The template and the values; messages among the values are such records.

    Returns
    -------
    text
        A message equal to the original.
    """
    template, *values = record
    arguments = [message_from_json(value) if isinstance(value, list) else value for value in values]
    return format_message(template, *arguments)


def join_messages(template: str, texts: Iterable[str]) -> str:
    """Join texts so that they can be translated: ``{one}; {other}`` is the form for two of them.

    Parameters
    ----------
    template
        A template with two names, as for `format_message`.
    texts
        Texts; those that are no `TranslatableMessage` stay as they are.

    Returns
    -------
    text
        The joined text; empty without texts.
    """
    messages = tuple(texts)
    half = len(messages) // 2
    if half:
        first_half = join_messages(template, messages[:half])
        second_half = join_messages(template, messages[half:])
        return format_message(template, first_half, second_half)
    if messages:
        return messages[0]
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlace:
    """Represent a place in a text that a person wrote: file, line and column from 1."""

    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """Write the known parts of the place as ``file:line:column``."""
        parts = [self.file or ""]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Describe one of possibly many mistakes: what, where, and what would be right.

    Attributes
    ----------
    message
        What is wrong and why, without a full stop.
    place
        Place of the mistake.
    remedy
        What to do about it.
    """

    message: str
    place: TextPlace = TextPlace()
    remedy: str = ""
    severity: str = "error"  # or "warning"

    def __str__(self) -> str:
        """Write ``file:line:column: message; remedy`` on one line."""
        return _format_with_place(str(self.place), self.message, self.remedy)


def _format_with_place(place: str, message: str, remedy: str) -> str:
    text = message
    if remedy:
        text = format_message("{message}; {remedy}", format_message(message), format_message(remedy))
    if place:
        return format_message("{place}: {message}", place, format_message(text))
    return text


class HvenError(Exception):
    """Report a fault to a person.

    Parameters
    ----------
    message
        What went wrong and why, one sentence, no trailing full stop.
    place
        Place of the fault, if it is in a text that a person wrote.
    remedy
        What to do about it.

    Attributes
    ----------
    label
        Name of the class in metrics and logs, which stays the same when the class is renamed.
    """

    label: ClassVar[str] = "HvenError"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "label" not in vars(cls):
            cls.label = cls.__name__

    def __init__(self, message: str, *, place: TextPlace | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message: str = format_message(message)
        self.place = place or TextPlace()
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
        place: TextPlace | None = None,
    ) -> None:
        self.offset = max(offset, 0)
        before = text[: self.offset]
        self.line = before.count("\n") + 1
        self.column = self.offset - (before.rfind("\n") + 1) + 1
        self.text = text
        super().__init__(message, place=place, remedy=remedy)

    def __str__(self) -> str:
        place = str(self.place)
        if not place:
            place = format_message("line {line}, column {column}", self.line, self.column)
        return _format_with_place(place, self.message, self.remedy)


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


class ChangeLimitExceededError(DataError):
    """More rows would go or change at once than a guard allows: nothing was published."""

    label = "Guarded"


class NotFoundError(UserError):
    """Report that a thing does not exist, or that this reader may not know of it."""

    label = "NotFound"


class GoneError(NotFoundError):
    """Report that a thing existed, and is no longer kept."""

    label = "Gone"


class ForbiddenError(UserError):
    """Report that the reader may not do this."""

    label = "Forbidden"


class UnauthenticatedError(UserError):
    """Report that the reader must log in first."""

    label = "Unauthenticated"


class TooLargeError(UserError):
    """Report more than a limit allows."""

    label = "TooLarge"


class ConflictError(UserError):
    """Report that somebody else is doing this at the moment."""

    label = "Conflict"


class PreconditionFailedError(ConflictError):
    """Report that a thing is in another state than the client expects."""

    label = "Outdated"


class TooManyRequestsError(UserError):
    """Report too many attempts; the client must wait before the next one."""

    label = "TooOften"

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: float = 60.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


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
    """Report too much load; the client can try again after `retry_after_seconds`."""

    label = "Overloaded"

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: float = 5.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class RowsReplacedError(OverloadedError):
    """Report that the rows of a waiting query were replaced or removed, and are no longer kept."""

    label = "Replaced"


class StorageError(ServiceError):
    """The disk is full, or a snapshot cannot be read."""


class StorageUnavailableError(StorageError):
    """Report that data that are read in place are not available now.

    A database is down, its table changed, or the site's directory does not exist.
    """

    label = "Unavailable"


class UpstreamError(ServiceError):
    """Report that another server does not give what the reader requested through this one."""

    label = "FarFault"


class UpstreamTimeoutError(UpstreamError):
    """Report that another server does not respond in time."""

    label = "FarSilence"


class UnmergeableSnapshotError(StorageError):
    """Report that a snapshot has another layout than its table has now.

    Changes cannot be merged into it; all rows must be staged.
    """

    label = "Unmergeable"


def find_close_match(word: str, candidates: Iterable[str], min_similarity: float = 0.6) -> str | None:
    """Find the known word that is most similar to another word, in any case.

    Parameters
    ----------
    word
        The word as it was written.
    candidates
        The known words.
    min_similarity
        Smallest similarity of a match, 0 to 1.

    Returns
    -------
    word
        One of `candidates`; None if none is similar.
    """
    from difflib import get_close_matches  # noqa: PLC0415  (only misspelt words need it)

    names_by_lower_case = {name.lower(): name for name in candidates}
    close = get_close_matches(word.lower(), names_by_lower_case, n=1, cutoff=min_similarity)
    if close:
        return names_by_lower_case[close[0]]
    return None


def suggest_spelling(word: str, candidates: Iterable[str], min_similarity: float = 0.6) -> str:
    """Suggest a known word in place of an unknown one: ``did you mean 'x'?``.

    Parameters
    ----------
    word
        The word as it was written.
    candidates
        The known words.
    min_similarity
        Smallest similarity of a match, 0 to 1.

    Returns
    -------
    remedy
        The suggestion; empty if no word is similar.
    """
    close = find_close_match(word, candidates, min_similarity)
    if close is not None:
        return format_message("did you mean {name!r}?", close)
    return ""

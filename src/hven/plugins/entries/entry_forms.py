"""Fields of the form of a table, from its columns, and the values that users enter in them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest.api.rows import cast_values
from hven.model.errors import DataError, ParamError, format_message, suggest_spelling
from hven.model.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.resource import ColumnMapping, TableSpec
    from hven.model.table import Column, Table
    from hven.model.types import ColumnType
    from hven.plugins.push.source import Options

MAX_VALUE_CHARACTERS = 10_000  # of a text in an entry
MAX_LIST_VALUES = 1_000
FLAG_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NAME_ROLE, LONGITUDE_ROLE, LATITUDE_ROLE = "name", "longitude", "latitude"
_LIST_SEPARATOR = re.compile(r"[,;\s]+")
LONG_TEXT_UCDS = ("meta.note", "meta.abstract", "meta.comment")


class EntryValuesError(DataError):
    """Values do not fit their columns.

    Attributes
    ----------
    faults
        Message of each column.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        names = ", ".join(faults)
        super().__init__(
            format_message("these values are not valid: {names}", names),
            remedy="correct these values, and send them again",
        )
        self.faults = dict(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryField:
    """A field of the form of a table.

    Attributes
    ----------
    name
        Name of the column that `push` takes.
    type
        Its type.
    kind
        ``text``, ``long``, ``number``, ``integer``, ``flag``, ``time``, ``choice`` or ``list``.
    label, description, unit
        As pages show them.
    required
        Whether every row has a value.
    minimum, maximum
        Bounds of the values; None: none.
    choices
        Words of the values of a ``choice``.
    is_key
        Whether the value identifies the row, so that it never changes.
    is_published
        Whether the table has the value as it was entered, in a column that the user sees. Columns that reveal files
        do not count, because a policy may hide their values.
    role
        ``name``, ``longitude`` or ``latitude`` of the object, for a form that finds positions; empty: none of these.
    """

    name: str
    type: ColumnType = field(repr=False)
    kind: str
    label: str
    description: str = ""
    unit: str = ""
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    is_key: bool = False
    is_published: bool = False
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnWording:
    """How pages name the columns of a table: functions of a column."""

    write_label: Callable[[Column], str]
    write_description: Callable[[Column], str]
    find_code_words: Callable[[Column], Mapping[str, str]]


def build_entry_fields(spec: TableSpec, options: Options, table: Table, wording: ColumnWording) -> list[EntryField]:
    """Build the fields of the form of a table, in the order of the columns that `push` takes.

    Columns that Hven numbers, shapes, and arrays other than lists of numbers have no field.

    Parameters
    ----------
    spec
        The table in the descriptor.
    options
        Options of its source.
    table
        The table as the user sees it.
    wording
        Labels and descriptions of its columns.
    """
    mapped_names = {mapping.column for mapping in spec.settings if not is_column_copy(mapping)}
    kept_names = {mapping.column for mapping in spec.settings if _is_partial_copy(mapping)}
    published_columns = {}
    copied_names = set()
    for column in table.columns:
        is_copy = column.name not in mapped_names and column.origins in {(), (column.name,)}
        if (is_copy or column.name in kept_names) and not column.hidden:
            published_columns[column.name] = column
        if is_copy:
            copied_names.add(column.name)
    masked_names: frozenset[str] = frozenset()
    if table.policy is not None:
        masked_names = table.policy.list_file_revealing_columns(
            (column.name, column.ucd or "") for column in table.columns
        )
    key_names: set[str] = set()
    for key_column in map(table.find_column, table.primary):
        key_names.update(key_column.origins or (key_column.name,))
    entry_fields = []
    for name, type_text in options.columns.items():
        column_type = parse_type(type_text)
        if name == options.ids or column_type.is_geometry:
            continue
        if column_type.is_array and not _is_number_list(column_type):
            continue
        is_key = name in key_names
        published_column = published_columns.get(name)
        if published_column is None:
            plain_field = EntryField(
                name=name,
                type=column_type,
                kind=_choose_field_kind(column_type),
                label=name,
                is_key=is_key,
                required=is_key,
            )
            entry_fields.append(plain_field)
            continue
        choices = {}
        if column_type.can_be_choice and published_column.enum:
            choices = dict(wording.find_code_words(published_column))
        kind = "choice" if choices else _choose_field_kind(column_type, published_column.ucd or "")
        entry_fields.append(
            EntryField(
                name=name,
                type=column_type,
                kind=kind,
                label=wording.write_label(published_column),
                description=wording.write_description(published_column),
                unit=published_column.unit or "",
                required=published_column.required or is_key,
                minimum=published_column.minimum,
                maximum=published_column.maximum,
                choices=choices,
                is_key=is_key,
                is_published=name in copied_names and name not in masked_names,
                role=_find_name_or_position_role(published_column, table),
            )
        )
    return entry_fields


def is_column_copy(mapping: ColumnMapping) -> bool:
    """Return whether the mapping of a column only names the source's column of this name.

    Parameters
    ----------
    mapping
        The mapping in the descriptor.
    """
    return mapping.how == "map" and str(mapping.value).strip().strip('"') == mapping.column


def _is_partial_copy(mapping: ColumnMapping) -> bool:
    """Return whether a column has the values of the source's column of this name, at least where another has values.

    The errors, origins and confidences of quantities do.
    """
    name = re.escape(mapping.column)
    pattern = rf'(?:CASE WHEN [\w".]+ IS NOT NULL THEN )?"?{name}"?(?: END)?'
    return mapping.how == "map" and re.fullmatch(pattern, str(mapping.value).strip()) is not None


def _find_name_or_position_role(column: Column, table: Table) -> str:
    """Return what a column says of an object: its name, or an equatorial coordinate in degrees; empty: other things."""
    ucd = (column.ucd or "").lower()
    if column.type.is_string and ucd.startswith("meta.id"):
        return NAME_ROLE
    if column.unit != "deg" or not find_position_frame(column, table):
        return ""
    ucd_word = ucd.partition(";")[0]
    return {"pos.eq.ra": LONGITUDE_ROLE, "pos.eq.dec": LATITUDE_ROLE}.get(ucd_word, "")


def find_position_frame(column: Column, table: Table) -> str:
    """Return the frame of right ascensions or declinations: ICRS, or FK5 at J2000; empty: another frame.

    Parameters
    ----------
    column
        The column.
    table
        Its table.
    """
    for frame in table.frames:
        if frame.id == column.frame:
            is_fk5_of_2000 = frame.system == "FK5" and frame.equinox in {None, "J2000"}
            is_known = is_fk5_of_2000 or frame.system == "ICRS"
            return str(frame.system) if is_known else ""
    return "ICRS"


def _is_number_list(column_type: ColumnType) -> bool:
    """Return whether a type is a list of numbers, which users enter with commas."""
    return len(column_type.shape) == 1 and _build_element_type(column_type).is_numeric


def _build_element_type(column_type: ColumnType) -> ColumnType:
    """Build the type of the elements of an array."""
    return replace(column_type, arraysize=None)


def _choose_field_kind(column_type: ColumnType, ucd: str = "") -> str:
    kinds = {
        "list": column_type.is_array,
        "flag": column_type.is_boolean,
        "time": column_type.is_timestamp,
        "integer": column_type.is_integer,
        "number": column_type.is_numeric,
        "long": ucd.lower().startswith(LONG_TEXT_UCDS),
    }
    return next((kind for kind, is_kind in kinds.items() if is_kind), "text")


def read_entry_values(entry_fields: Sequence[EntryField], sent_values: Mapping[str, object]) -> dict[str, Any]:
    """Read the values that a user entered, as JSON values.

    Parameters
    ----------
    entry_fields
        Fields that the user may fill.
    sent_values
        Column -> text of a form, or value of JSON. An empty text is no value. Columns that are missing are left out.

    Raises
    ------
    EntryValuesError
        Values do not fit their columns.
    ParamError
        There is no such column.
    """
    fields_by_name = {entry_field.name: entry_field for entry_field in entry_fields}
    values: dict[str, Any] = {}
    faults = {}
    for name, value in sent_values.items():
        entry_field = fields_by_name.get(name)
        if entry_field is None:
            raise ParamError(
                format_message("you cannot enter a value for {name!r:.80}", name),
                remedy=suggest_spelling(name, fields_by_name)
                or format_message("use {names}", ", ".join(fields_by_name)),
            )
        try:
            values[name] = _read_value(entry_field, value)
        except ValueError as error:
            faults[name] = error.args[0]
    if faults:
        raise EntryValuesError(faults)
    return values


def _read_value(entry_field: EntryField, value: object) -> Any:
    """Read one value; the message of a `ValueError` says what is wrong with it."""
    if entry_field.type.is_array:
        return _read_list(entry_field, value)
    text = _read_text(value)
    if text is None:
        return None
    if entry_field.choices and text not in entry_field.choices:
        raise ValueError(format_message("choose one of {names:.200}", ", ".join(entry_field.choices)))
    if entry_field.type.is_boolean:
        flag = FLAG_WORDS.get(text.lower())
        if flag is None:
            raise ValueError(format_message("write true or false"))
        return flag
    cast_array, misfits = cast_values(pa.array([text]), entry_field.type.arrow)
    if misfits is not None or cast_array.null_count:
        message = "write a number"
        if entry_field.type.is_timestamp:
            message = "write a time such as 2026-11-28T20:30:00"
        elif entry_field.type.is_integer:
            message = "write a whole number"
        raise ValueError(format_message(message))
    plain_value = to_plain_value(cast_array[0].as_py(), entry_field.type)
    if entry_field.type.is_numeric:
        _check_bounds(entry_field, plain_value)
    return plain_value


def _read_list(entry_field: EntryField, value: object) -> list[Any] | None:
    """Read a list of numbers: of JSON, or with commas."""
    if not isinstance(value, list):
        text = _read_text(value)
        if text is None:
            return None
        value = _LIST_SEPARATOR.split(text.removeprefix("[").removesuffix("]").strip())
    if len(value) > MAX_LIST_VALUES:
        raise ValueError(format_message("write at most {most:,} numbers", MAX_LIST_VALUES))
    element_field = replace(entry_field, type=_build_element_type(entry_field.type), choices={})
    numbers = [_read_value(element_field, element) for element in value]
    if None in numbers:
        raise ValueError(format_message("write numbers with commas between them"))
    (size,) = entry_field.type.shape
    if size is not None and len(numbers) != size:
        raise ValueError(format_message("write {count} numbers", size))
    return numbers


def _read_text(value: object) -> str | None:
    """Return the text of a value; None: it is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return None
    if not isinstance(value, (str, int, float)):
        raise ValueError(format_message("write one value"))  # noqa: TRY004  (all faults of values are alike)
    text = str(value).replace("\r\n", "\n").strip()
    if len(text) > MAX_VALUE_CHARACTERS:
        raise ValueError(format_message("write at most {most:,} characters", MAX_VALUE_CHARACTERS))
    if "\0" in text:
        raise ValueError(format_message("the text contains a zero byte"))
    return text or None


def _check_bounds(entry_field: EntryField, number: float) -> None:
    if not math.isfinite(number):
        raise ValueError(format_message("write a finite number"))
    if entry_field.minimum is not None and number < entry_field.minimum:
        raise ValueError(format_message("write a number that is at least {minimum:g}", entry_field.minimum))
    if entry_field.maximum is not None and number > entry_field.maximum:
        raise ValueError(format_message("write a number that is at most {maximum:g}", entry_field.maximum))


def to_plain_value(value: object, column_type: ColumnType) -> Any:
    """Convert a value of a row to one of JSON.

    Parameters
    ----------
    value
        The value, from Arrow.
    column_type
        Its type: a number with 32 bits gets its shortest decimal form.
    """
    if isinstance(value, (list, np.ndarray)):
        return [to_plain_value(element, _build_element_type(column_type)) for element in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and pa.types.is_float32(column_type.arrow):
        return float(str(np.float32(value)))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def format_value_text(value: object) -> str:
    """Write a value of JSON as in a field of a form.

    Parameters
    ----------
    value
        The value.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    if isinstance(value, list):
        return ", ".join(map(format_value_text, value))
    return str(value)


def find_missing_values(entry_fields: Sequence[EntryField], values: Mapping[str, Any]) -> dict[str, str]:
    """Find the required fields without a value.

    Parameters
    ----------
    entry_fields
        The fields.
    values
        Values by column.

    Returns
    -------
    faults
        Message of each column.
    """
    missing: dict[str, str] = {}
    for entry_field in entry_fields:
        if entry_field.required and values.get(entry_field.name) is None:
            missing[entry_field.name] = format_message("a value is required")
    return missing

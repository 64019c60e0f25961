"""Columns of links: fill templates from the rows of a query, encode values as texts, join columns of several links."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.table import SITE_URL_EXPRESSION, format_time, is_time_format, to_content_qualifier
from hven.services.addresses import ADDRESS_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Template

ColumnValue = Any  # column of a link: an array, or one value for all rows (text, boolean, number, None)
# texts that need no percent-encoding, by the characters that are safe besides the unreserved ones
_UNESCAPED_PATTERNS = {safe: rf"\A[A-Za-z0-9._~{re.escape(safe)}-]*\z" for safe in (ADDRESS_CHARACTERS, "", "/")}
# typed scalars: for an untyped literal Arrow tries to import pandas each time, which takes 0.1 ms
_NULL_TEXT = pa.scalar(None, pa.string())


class LinkQueryResult:
    """The rows of a query for some links.

    Attributes
    ----------
    rows
        Rows of the query.
    column_names
        Name of the result column of each selected expression.
    base_url
        Address of the site, without a final slash.
    """

    def __init__(self, rows: pa.Table, column_names: Mapping[str, str], base_url: str) -> None:
        self.rows = rows
        self.column_names = column_names
        self.base_url = base_url
        self._encoded_columns: dict[tuple[str, str, str | None], pa.Array] = {}  # several links have the same file

    def get_column(self, expression: str) -> pa.Array:
        """Return the column of a selected expression."""
        return self.rows[self.column_names[expression]].combine_chunks()

    def fill_template(self, template: Template, *, is_address: bool = False) -> ColumnValue:
        """Fill a template; return one text where it is the same for all rows."""
        constant_text = fill_constant_template(template, self.base_url)
        if constant_text is not None or not template:
            return constant_text
        return self.fill_template_for_rows(template, is_address=is_address)

    def fill_template_for_rows(self, template: Template, *, is_address: bool = False) -> pa.Array:
        """Fill a template for each row; a row is null where one of its values is null."""
        constant_text = fill_constant_template(template, self.base_url)
        if constant_text is not None or not template:
            return pa.array([constant_text] * self.rows.num_rows, pa.string())
        parts: list[Any] = []
        is_in_query = False
        for part_index, part in enumerate(template):
            if isinstance(part, str):
                parts.append(to_scalar(part))
                is_in_query = is_in_query or "?" in part
            elif part == SITE_URL_EXPRESSION:
                parts.append(to_scalar(self.base_url))
            else:
                if not is_address:
                    safe_characters = None
                elif part_index == 0:
                    safe_characters = ADDRESS_CHARACTERS
                elif is_in_query:
                    safe_characters = ""
                else:
                    safe_characters = "/"
                parts.append(self._encode_column(part.expression, part.format_spec, safe_characters))
        if len(parts) == 1:
            return parts[0]
        return pc.binary_join_element_wise(*parts, to_scalar(""))

    def _encode_column(self, expression: str, format_spec: str, safe_characters: str | None) -> pa.Array:
        key = (expression, format_spec, safe_characters)
        encoded_column = self._encoded_columns.get(key)
        if encoded_column is None:
            column = self.get_column(expression)
            encoded_column = self._encoded_columns[key] = format_template_values(column, format_spec, safe_characters)
        return encoded_column


@lru_cache(maxsize=4096)
def fill_constant_template(template: Template, base_url: str) -> str | None:
    """Return the text of a template that is the same for all rows; None if it differs or the template is empty."""
    is_constant = all(isinstance(part, str) or part == SITE_URL_EXPRESSION for part in template)
    if not template or not is_constant:
        return None
    return "".join(part if isinstance(part, str) else base_url for part in template)


@lru_cache(maxsize=1024)
def to_scalar(text: str) -> pa.Scalar:
    """Return a text as a scalar of Arrow."""
    return pa.scalar(text, pa.string())


def to_list(value: ColumnValue, row_count: int) -> list[Any]:
    """Return the values of a column, one for each row."""
    if isinstance(value, pa.Array):
        values: list[Any] = value.to_pylist()
        return values
    return [value] * row_count


def to_array(value: ColumnValue, row_count: int, arrow_type: pa.DataType) -> pa.Array:
    """Return a column as an array of a type."""
    if isinstance(value, pa.Array):
        if value.type == arrow_type:
            return value
        return value.cast(arrow_type)
    if value is None:
        return pa.nulls(row_count, arrow_type)
    return pa.array([value] * row_count, arrow_type)


def concat_link_columns(values: Sequence[ColumnValue], row_count: int, arrow_type: pa.DataType) -> pa.Array:
    """Concatenate the columns of several links; constant columns cost next to nothing."""
    if len(values) == 1:
        return to_array(values[0], row_count, arrow_type)
    if not any(isinstance(column_value, pa.Array) for column_value in values):
        return pa.array([column_value for column_value in values for _ in range(row_count)], arrow_type)
    return pa.concat_arrays([to_array(column_value, row_count, arrow_type) for column_value in values])


def parse_integers(texts: pa.Array) -> pa.Array:
    """Parse integers; a text that is no integer becomes null."""
    is_integer = pc.match_substring_regex(texts, r"^\d{1,18}$")
    integer_texts = pc.if_else(is_integer, texts, _NULL_TEXT)
    return pc.cast(integer_texts, pa.int64())


def format_template_values(values: pa.Array, format_spec: str, safe_characters: str | None) -> pa.Array:
    """Write values as texts, each distinct value once.

    Parameters
    ----------
    values
        Values of a column.
    format_spec
        Format specification; empty: the default format.
    safe_characters
        Characters that are not percent-encoded; None to encode nothing, for texts that are no parts of addresses.
    """
    if not format_spec and pa.types.is_string(values.type):
        if safe_characters is None:
            return values
        is_unescaped = pc.match_substring_regex(values, _UNESCAPED_PATTERNS[safe_characters])
        if pc.all(is_unescaped, min_count=0).as_py():
            return values

    def format_value(value: Any) -> str | None:
        text: str | None
        if format_spec and is_time_format(format_spec):
            text = format_time(value, format_spec)
        elif format_spec:
            text = format(value, format_spec)
        elif isinstance(value, float):
            text = repr(value).removesuffix(".0")
        else:
            text = str(value)
        if safe_characters is None or text is None:
            return text
        return quote(text, safe=safe_characters)

    encoded = values.dictionary_encode()
    texts: list[str | None] = []
    for value in encoded.dictionary.to_pylist():
        if value is None:
            texts.append(None)
        else:
            texts.append(format_value(value))
    return pa.array(texts, pa.string()).take(encoded.indices)


def convert_to_content_qualifiers(texts: ColumnValue) -> ColumnValue:
    """Convert kinds of products to the vocabulary of DataLink, each distinct kind once."""
    if texts is None or isinstance(texts, str):
        return to_content_qualifier(texts)
    if texts.null_count == len(texts):
        return None
    encoded = texts.dictionary_encode()
    qualifiers = [to_content_qualifier(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(qualifiers, pa.string()).take(encoded.indices)


def replace_old_addresses_with_paths(files: pa.Array, new_prefixes: Mapping[str, str]) -> pa.Array:
    """Replace old addresses of files by their paths, each distinct address once.

    Parameters
    ----------
    files
        Paths or old addresses.
    new_prefixes
        Prefix of old addresses -> prefix of the paths.
    """
    if not new_prefixes:
        return files

    def resolve_path(text: str | None) -> str | None:
        if text is None:
            return None
        matching_prefixes = (prefix for prefix in new_prefixes if text.startswith(prefix))
        old_prefix = max(matching_prefixes, key=len, default=None)
        if old_prefix is None:
            return text
        return new_prefixes[old_prefix] + unquote(text[len(old_prefix) :])

    encoded = files.dictionary_encode()
    paths = [resolve_path(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(paths, pa.string()).take(encoded.indices)

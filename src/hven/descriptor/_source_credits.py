"""What a source says of itself - title, creators, licence, key, position, how many rows - as a first descriptor takes it (`hven.sources.SelfDescribingSource`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.descriptor._yaml_text import format_comment, format_flow_value, format_scalar
from hven.model.resource import parse_work_identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.sources import SelfDescribingSource

WAVEBANDS = ("Radio", "Millimeter", "Infrared", "Optical", "UV", "EUV", "X-ray", "Gamma-ray")
DEFAULT_HEAD_LINES = {  # key -> the line that stands for it where nobody says it
    "creators": '# creators: [{name: "Brahe, T."}]  # who made the data, in the order of citation',
    "licence": "# licence: CC-BY-4.0",
    "licence_url": "",
    "bibcode": "",
    "reference_url": "# reference_url: https://...",
    "acknowledgement": "",
    "waveband": "",
}
BUILDER_REMARK = "  # as the catalogue says it, which may be who built it: put here who made the data"


def write_head_lines(metadata_values: Mapping[str, str], *, by_builder: bool = False) -> list[str]:
    """Write the lines of a descriptor's head.

    Parameters
    ----------
    metadata_values
        As the source says it; empty: it says nothing.
    by_builder
        It may name who built the catalogue, not who made the data.
    """
    remark = BUILDER_REMARK if by_builder else ""
    lines = [
        _write_head_line(key, metadata_values[key], remark) or f"# {key}: {format_comment(metadata_values[key])}"
        if key in metadata_values
        else DEFAULT_HEAD_LINES[key]
        for key in DEFAULT_HEAD_LINES
    ]
    return [line for line in lines if line]


def _write_head_line(key: str, text: str, remark: str) -> str | None:
    """Write one key; None: what is said is no value of it."""
    if key == "creators":
        creators = [{"name": name.strip()} for name in text.split(";") if name.strip()]
        return f"creators: {format_flow_value(creators)}{remark}"
    if key == "waveband":
        words = {word.lower() for word in re.split(r"[\s,;]+", text)}
        bands = [name for name in WAVEBANDS if name.lower() in words]
        if bands:
            return f"waveband: {format_flow_value(bands)}"
        return None
    if key == "bibcode":
        identifier = parse_work_identifier(text)
        if identifier is not None and identifier[0] == "bibcode":
            return f"bibcode: {format_scalar(text)}"
        return None
    if key.endswith("_url") and not re.fullmatch(r"https?://\S+", text):
        return None
    return f"{key}: {format_scalar(text)}"


def describe_row_count(source: SelfDescribingSource | None, sampled_rows: int, *, is_complete: bool) -> str:
    """Write how many rows there are, and how many were looked at."""
    rounded_row_count = sampled_rows - sampled_rows % 1000 or sampled_rows
    if source is not None:
        stated_row_count = source.read_stated_row_count()
    else:
        stated_row_count = None
    if is_complete:
        return f"    # {sampled_rows:,} rows"
    if stated_row_count is not None:
        return f"    # {stated_row_count:,} rows, as the catalogue says; guessed from the first {rounded_row_count:,}"
    return f"    # guessed from the first {rounded_row_count:,} rows"


def find_key_guesses(source: SelfDescribingSource, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Return the columns that name a row, as the source says."""
    names = source.list_key_columns()
    key_guesses = [item for name in names for item in guesses if item.source == name]
    if len(key_guesses) == len(names):
        return key_guesses
    return []


def find_position_columns(
    source: SelfDescribingSource | None, guesses: Sequence[ColumnGuess]
) -> tuple[str, str] | None:
    """Return the columns of positions, by their names in the table; None: the source does not say."""
    if source is None:
        position_columns = None
    else:
        position_columns = source.find_position_columns()
    names = {item.source: item.column.name for item in guesses if item.column.type.is_numeric}
    if position_columns is None or not names.keys() >= set(position_columns):
        return None
    return (names[position_columns[0]], names[position_columns[1]])


def write_engine_lines(source: SelfDescribingSource, missing_requirement: str | None) -> list[str]:
    """Write which engine serves the files where they are."""
    if missing_requirement is None:
        return [f"engine: {source.engine}  # serves the files where they are: nothing is copied"]
    return [
        (
            f"# engine: {source.engine}  # would serve the files where they are; without it all rows are copied. "
            f"{format_comment(missing_requirement)}: say roots under [{source.engine}] in hven.toml"
        )
    ]

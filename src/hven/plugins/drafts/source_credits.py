"""Write what a source says of itself into a first descriptor (`hven.sources.SelfDescribingSource`).

These are title, creators, licence, key, position and the number of rows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.descriptor.api.yaml_text import format_yaml_comment, format_yaml_flow_value, format_yaml_scalar
from hven.model.resource import parse_work_identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.sources import SelfDescribingSource

WAVEBANDS = ("Radio", "Millimeter", "Infrared", "Optical", "UV", "EUV", "X-ray", "Gamma-ray")
DEFAULT_HEAD_LINES = {  # key -> the line where the source does not say it
    "creators": '# creators: [{name: "Brahe, T."}]  # who made the data, in the order of citation',
    "licence": "# licence: CC-BY-4.0",
    "licence_url": "",
    "bibcode": "",
    "reference_url": "# reference_url: https://...",
    "acknowledgement": "",
    "waveband": "",
}
BUILDER_REMARK = "  # from the catalogue, which may name the people who built it; write the people who made the data"


def write_credit_head_lines(metadata_values: Mapping[str, str], *, has_builder_names: bool = False) -> list[str]:
    """Write the lines of a descriptor's head.

    Parameters
    ----------
    metadata_values
        Values by key, as the source says them.
    has_builder_names
        Whether the source may name the builder of the catalogue, and not who made the data.
    """
    remark = BUILDER_REMARK if has_builder_names else ""
    lines = []
    for key, default_line in DEFAULT_HEAD_LINES.items():
        if key not in metadata_values:
            lines.append(default_line)
            continue
        text = metadata_values[key]
        value_text = _format_head_value(key, text)
        if value_text is None:
            lines.append(f"# {key}: {format_yaml_comment(text)}")
        elif key == "creators":
            lines.append(f"{key}: {value_text}{remark}")
        else:
            lines.append(f"{key}: {value_text}")
    return [line for line in lines if line]


def _format_head_value(key: str, text: str) -> str | None:
    """Write the value of one key; None: the source's text is no value of it."""
    if key == "creators":
        creators = [{"name": name.strip()} for name in text.split(";") if name.strip()]
        return format_yaml_flow_value(creators)
    if key == "waveband":
        words = {word.lower() for word in re.split(r"[\s,;]+", text)}
        bands = [name for name in WAVEBANDS if name.lower() in words]
        return format_yaml_flow_value(bands) if bands else None
    if key == "bibcode":
        identifier = parse_work_identifier(text)
        is_bibcode = identifier is not None and identifier[0] == "bibcode"
        return format_yaml_scalar(text) if is_bibcode else None
    if key.endswith("_url") and not re.fullmatch(r"https?://\S+", text):
        return None
    return format_yaml_scalar(text)


def write_row_count_comment(source: SelfDescribingSource | None, sampled_rows: int, *, is_complete: bool) -> str:
    """Write the number of rows, and how many of them were read."""
    if is_complete:
        return f"    # {sampled_rows:,} rows"
    rounded_row_count = sampled_rows - sampled_rows % 1000 or sampled_rows
    stated_row_count = None
    if source is not None:
        stated_row_count = source.read_stated_row_count()
    if stated_row_count is not None:
        return (
            f"    # {stated_row_count:,} rows according to the catalogue; guessed from the first {rounded_row_count:,}"
        )
    return f"    # guessed from the first {rounded_row_count:,} rows"


def find_key_guesses(source: SelfDescribingSource, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Return the columns that name a row, as the source says."""
    guesses_by_source = {guess.source: guess for guess in guesses}
    names = source.list_key_columns()
    if all(name in guesses_by_source for name in names):
        return [guesses_by_source[name] for name in names]
    return []


def find_position_columns(
    source: SelfDescribingSource | None, guesses: Sequence[ColumnGuess]
) -> tuple[str, str] | None:
    """Return the columns of positions, by their names in the table; None: the source does not say."""
    if source is None:
        return None
    position_columns = source.find_position_columns()
    names = {guess.source: guess.column.name for guess in guesses if guess.column.type.is_numeric}
    if position_columns is None or not names.keys() >= set(position_columns):
        return None
    longitude, latitude = position_columns
    return names[longitude], names[latitude]


def write_engine_lines(source: SelfDescribingSource, missing_requirement: str | None, remedy: str) -> list[str]:
    """Write which engine serves the files where they are."""
    if missing_requirement is None:
        return [f"engine: {source.engine}  # serves the files where they are; nothing is copied"]
    return [
        (
            f"# engine: {source.engine}  # would serve the files where they are; without it all rows are copied. "
            f"{format_yaml_comment(missing_requirement)}: {remedy}"
        )
    ]

"""What a source says of itself - title, creators, licence, key, position, how many rows - as a first descriptor takes it (`hven.sources.Credited`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.descriptor._yaml_text import comment, flow, scalar
from hven.model.resource import identified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._guesses import Guess
    from hven.sources import Credited

BANDS = ("Radio", "Millimeter", "Infrared", "Optical", "UV", "EUV", "X-ray", "Gamma-ray")
HEAD = {  # key -> the line that stands for it where nobody says it
    "creators": '# creators: [{name: "Brahe, T."}]  # who made the data, in the order of citation',
    "licence": "# licence: CC-BY-4.0",
    "licence_url": "",
    "bibcode": "",
    "reference_url": "# reference_url: https://...",
    "acknowledgement": "",
    "waveband": "",
}
BUILT = "  # as the catalogue says it, which may be who built it: put here who made the data"


def head(said: Mapping[str, str], *, by_builder: bool = False) -> list[str]:
    """Write the lines of a descriptor's head.

    Parameters
    ----------
    said
        As the source says it; empty: it says nothing.
    by_builder
        It may name who built the catalogue, not who made the data.
    """
    remark = BUILT if by_builder else ""
    lines = [
        _line(key, said[key], remark) or f"# {key}: {comment(said[key])}" if key in said else HEAD[key] for key in HEAD
    ]
    return [line for line in lines if line]


def _line(key: str, text: str, remark: str) -> str | None:
    """Write one key; None: what is said is no value of it."""
    if key == "creators":
        people = [{"name": one.strip()} for one in text.split(";") if one.strip()]
        return f"creators: {flow(people)}{remark}"
    if key == "waveband":
        said = {word.lower() for word in re.split(r"[\s,;]+", text)}
        bands = [one for one in BANDS if one.lower() in said]
        return f"waveband: {flow(bands)}" if bands else None
    if key == "bibcode":
        known = identified(text)
        return f"bibcode: {scalar(text)}" if known is not None and known[0] == "bibcode" else None
    if key.endswith("_url") and not re.fullmatch(r"https?://\S+", text):
        return None
    return f"{key}: {scalar(text)}"


def rows(source: Credited | None, looked: int, *, complete: bool) -> str:
    """Write how many rows there are, and how many were looked at."""
    most = looked - looked % 1000 or looked
    said = source.rows() if source is not None else None
    if complete:
        return f"    # {looked:,} rows"
    if said is not None:
        return f"    # {said:,} rows, as the catalogue says; guessed from the first {most:,}"
    return f"    # guessed from the first {most:,} rows"


def key(source: Credited, guesses: Sequence[Guess]) -> list[Guess]:
    """Return the columns that name a row, as the source says."""
    names = source.key()
    found = [item for name in names for item in guesses if item.source == name]
    return found if len(found) == len(names) else []


def position(source: Credited | None, guesses: Sequence[Guess]) -> tuple[str, str] | None:
    """Return the columns of positions, by their names in the table; None: the source does not say."""
    said = None if source is None else source.position()
    names = {item.source: item.column.name for item in guesses if item.column.type.is_numeric}
    return None if said is None or not names.keys() >= set(said) else (names[said[0]], names[said[1]])


def engine(source: Credited, lacks: str | None) -> list[str]:
    """Write which engine serves the files where they are."""
    if lacks is None:
        return [f"engine: {source.engine}  # serves the files where they are: nothing is copied"]
    return [
        f"# engine: {source.engine}  # would serve the files where they are; without it all rows are copied. {comment(lacks)}: say roots under [{source.engine}] in hven.toml"
    ]

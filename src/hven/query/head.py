"""Result -> the head of an answer: columns, the frames and groups they refer to, INFO lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import __version__
from hven.formats import Head, Info

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.query.result import Result

SOFTWARE = f"Hven/{__version__}"


def head(result: Result, *, infos: Sequence[Info] = (), name: str | None = None, status: bool = True) -> Head:
    """Describe a result for a format."""
    wanted = {column.frame for column in result.columns if column.frame}
    enums = {column.enum for column in result.columns if column.enum}
    there = {column.name for column in result.columns}
    frames = {frame.id: frame for table in result.tables for frame in table.frames if frame.id in wanted}
    groups = [group for table in result.tables for group in table.groups if there.issuperset(group.roles.values())]
    return Head(
        columns=result.columns,
        name=name,
        infos=(*infos, Info(name="software", value=SOFTWARE)),
        frames=tuple(frames.values()),
        groups=tuple(groups),
        enums={name: words for table in result.tables for name, words in table.enums.items() if name in enums},
        status=status,
    )

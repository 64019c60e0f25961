"""Result -> the head of an answer: columns, the frames and groups they refer to, INFO lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from hven import __version__
from hven.formats import Head, Info
from hven.model import Cache
from hven.model.sky import frames
from hven.query._service_descriptors import SITE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.params import Param, Params
    from hven.model.table import Column, FrameRef, Group, Table
    from hven.query._result import Result

SOFTWARE = f"Hven/{__version__}"
WARNING = "warning"  # name of the INFO that says what of a request was not used
NAMED, LONG = 10, 60  # parameters that it names, and characters of each
KEPT, COLUMN = 1024**2, 200  # bytes of what is kept about columns, and of one, about
_SAID = Info(name="server_software", value=SOFTWARE)


class Around(NamedTuple):
    """What columns refer to. It keeps them alive, so that no other ones have their identity.

    Attributes
    ----------
    tables
        Of the columns.
    frames, groups, enums, params
        Of these tables, as far as columns refer to them.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    frames: tuple[FrameRef, ...]
    groups: tuple[Group, ...]
    enums: Mapping[str, Mapping[str, str]]
    params: tuple[tuple[Column, object], ...]


_known: Cache[Around] = Cache(KEPT, KEPT // 4)


def _around(
    columns: tuple[Column, ...], tables: tuple[Table, ...], renamed: tuple[tuple[str, str], ...] = ()
) -> Around:
    """Gather it once for the columns of a plan, which is asked again and again."""
    found = _known.find(id(columns))
    if found is None or found.tables is not tables:
        wanted = {column.frame for column in columns if column.frame}
        params = {one.name: one for table in tables for one in table.params}
        given = [one for table in tables for one in table.params]
        params = {
            name: one for name, one in params.items() if all(other == one for other in given if other.name == name)
        }
        enums = {column.enum for column in (*columns, *params.values()) if column.enum}
        there = {column.name for column in columns} | params.keys()
        found = Around(
            columns=columns,
            tables=tables,
            frames=_frames(tables, wanted),
            groups=_groups(tables, there, dict(renamed)),
            enums={name: words for table in tables for name, words in table.enums.items() if name in enums},
            params=tuple((one, one.value) for one in params.values()),
        )
        _known.keep(id(columns), found, COLUMN * len(columns))
    return found


def _groups(tables: tuple[Table, ...], there: set[str], renamed: Mapping[str, str]) -> tuple[Group, ...]:
    """Return the groups whose members are all in the answer, under the names that they have there."""
    found = []
    for group in (group for table in tables for group in table.groups):
        roles = {role: name if name in there else renamed.get(name, name) for role, name in group.roles.items()}
        if there.issuperset(roles.values()):
            found.append(group if roles == group.roles else replace(group, roles=roles))
    return tuple(found)


def _frames(tables: tuple[Table, ...], wanted: set[str]) -> tuple[FrameRef, ...]:
    """Return the frames of the columns. Of two bodies that are both called ``body`` remains that it is one; what else disagrees is left out."""
    found: dict[str, FrameRef | None] = {}
    for frame in (frame for table in tables for frame in table.frames if frame.id in wanted):
        other = found.get(frame.id, frame)
        if other is not None and other != frame:
            other = replace(other, refposition=None)
            other = other if other == replace(frame, refposition=None) and other.system == frames.BODY else None
        found[frame.id] = other
    return tuple(frame for frame in found.values() if frame is not None)


def unused(params: Params, known: Iterable[Param], *more: str) -> tuple[Info, ...]:
    """Warn of parameters of a request that this service does not know: DALI has it ignore them, and nobody shall take the answer for one to them.

    Parameters
    ----------
    params
        Of the request.
    known
        What the service declares.
    more
        Names that are read and not declared.

    Returns
    -------
    infos
        One warning, or none.
    """
    known = tuple(known)
    names = params.unused(known, *more)
    if not names:
        return ()
    told = ", ".join(ascii(name[:LONG]).strip("'\"") for name in names[:NAMED]) + (
        f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    )
    return (
        Info(name=WARNING, value=f"not used: {told}; known parameters: {', '.join(param.name for param in known)}"),
    )


def head(
    result: Result, *, infos: Sequence[Info] = (), name: str | None = None, status: bool = True, base: str = ""
) -> Head:
    """Describe a result for a format.

    Parameters
    ----------
    result
        With its columns.
    infos
        Further lines of the head, first.
    name
        Of the table in the document.
    status
        Whether QUERY_STATUS is told (DALI 1.1, 4.4).
    base
        Address of the site as its reader asks it; empty: as its settings say.

    Returns
    -------
    head
        Columns, the frames, groups and constants that they refer to, and where the rows come from.
    """
    around = _around(result.columns, result.tables, result.renamed)
    return Head(
        columns=result.columns,
        name=name,
        infos=(*infos, _SAID, *result.origins),
        frames=around.frames,
        groups=around.groups,
        enums=around.enums,
        params=around.params,
        descriptors=tuple(one.replace(SITE, base or result.address) for one in result.descriptors),
        status=status,
    )

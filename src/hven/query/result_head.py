"""The head of an answer: its columns, the frames and groups that they refer to, and INFO elements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from hven import __version__
from hven.formats import InfoElement, TableMetadata
from hven.model import LruCache
from hven.model.sky import frames
from hven.query._service_descriptors import SITE_URL_PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.params import Param, RequestParams
    from hven.model.table import Column, ColumnGroup, FrameRef, Table
    from hven.query._query_result import QueryResult

SERVER_SOFTWARE = f"Hven/{__version__}"
WARNING_INFO_NAME = "warning"  # name of the INFO that says what of a request was not used
MAX_NAMED_PARAMETERS = 10  # parameters that this warning names
MAX_PARAMETER_NAME_CHARACTERS = 60
CONTEXT_CACHE_BYTES = 1024**2
COLUMN_CONTEXT_BYTES = 200  # approximate size of the context of a column
_SOFTWARE_INFO = InfoElement(name="server_software", value=SERVER_SOFTWARE)


class ColumnFramesAndGroups(NamedTuple):
    """The frames, groups and constants that columns refer to.

    It keeps the columns alive, so that no other columns get their id().

    Attributes
    ----------
    tables
        The tables of the columns.
    frames, groups, enums, params
        Those of the tables that the columns refer to.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    frames: tuple[FrameRef, ...]
    groups: tuple[ColumnGroup, ...]
    enums: Mapping[str, Mapping[str, str]]
    params: tuple[tuple[Column, object], ...]


_context_cache: LruCache[ColumnFramesAndGroups] = LruCache(CONTEXT_CACHE_BYTES, CONTEXT_CACHE_BYTES // 4)


def _collect_frames_and_groups(
    columns: tuple[Column, ...], tables: tuple[Table, ...], renamed_columns: tuple[tuple[str, str], ...] = ()
) -> ColumnFramesAndGroups:
    """Collect the context of the columns of a plan once, because many answers need it."""
    context = _context_cache.find(id(columns))
    if context is None or context.tables is not tables:
        frame_ids = {column.frame for column in columns if column.frame}
        params = {param.name: param for table in tables for param in table.params}
        all_params = [param for table in tables for param in table.params]
        for param in all_params:  # a constant with different values in several tables is left out
            if param.name in params and params[param.name] != param:
                del params[param.name]
        enum_names = {column.enum for column in (*columns, *params.values()) if column.enum}
        enums: dict[str, Mapping[str, str]] = {}
        for table in tables:
            enums |= {name: words for name, words in table.enums.items() if name in enum_names}
        available_names = {column.name for column in columns} | params.keys()
        context = ColumnFramesAndGroups(
            columns=columns,
            tables=tables,
            frames=_select_coordinate_frames(tables, frame_ids),
            groups=_select_column_groups(tables, available_names, dict(renamed_columns)),
            enums=enums,
            params=tuple((param, param.value) for param in params.values()),
        )
        _context_cache.store(id(columns), context, COLUMN_CONTEXT_BYTES * len(columns))
    return context


def _select_column_groups(
    tables: tuple[Table, ...], answer_columns: set[str], names_in_answer: Mapping[str, str]
) -> tuple[ColumnGroup, ...]:
    """Return the groups whose members are all in the answer, with the names that they have there."""
    groups = []
    for group in (group for table in tables for group in table.groups):
        roles = {
            role: name if name in answer_columns else names_in_answer.get(name, name)
            for role, name in group.roles.items()
        }
        if answer_columns.issuperset(roles.values()):
            groups.append(group if roles == group.roles else replace(group, roles=roles))
    return tuple(groups)


def _select_coordinate_frames(tables: tuple[Table, ...], frame_ids: set[str]) -> tuple[FrameRef, ...]:
    """Return the frames of the columns.

    If several frames have the same id, only what they agree on remains: of two bodies that are both called ``body``,
    that the frame is one of a body. Other frames that disagree are left out.
    """
    frames_by_id: dict[str, FrameRef | None] = {}
    for frame in (frame for table in tables for frame in table.frames if frame.id in frame_ids):
        agreed_frame = frames_by_id.get(frame.id, frame)
        if agreed_frame is not None and agreed_frame != frame:
            agreed_frame = replace(agreed_frame, refposition=None)
            if agreed_frame != replace(frame, refposition=None) or agreed_frame.system != frames.BODY_FRAME_NAME:
                agreed_frame = None
        frames_by_id[frame.id] = agreed_frame
    return tuple(frame for frame in frames_by_id.values() if frame is not None)


def build_unused_parameter_warnings(
    request_params: RequestParams, declared_params: Iterable[Param], *undeclared_names: str
) -> tuple[InfoElement, ...]:
    """Warn of parameters of a request that the service does not know.

    DALI ignores such parameters, and the user should not assume that the answer depends on them.

    Parameters
    ----------
    request_params
        The parameters of the request.
    declared_params
        The parameters that the service declares.
    undeclared_names
        Names of parameters that the service reads without declaring them.

    Returns
    -------
    infos
        One warning, or none.
    """
    declared_params = tuple(declared_params)
    names = request_params.list_unused_names(declared_params, *undeclared_names)
    if not names:
        return ()
    shown_names = [ascii(name[:MAX_PARAMETER_NAME_CHARACTERS]).strip("'\"") for name in names[:MAX_NAMED_PARAMETERS]]
    unused_names = ", ".join(shown_names)
    if len(names) > MAX_NAMED_PARAMETERS:
        unused_names += f" and {len(names) - MAX_NAMED_PARAMETERS} more"
    known_names = ", ".join(param.name for param in declared_params)
    text = f"not used: {unused_names}; known parameters: {known_names}"
    return (InfoElement(name=WARNING_INFO_NAME, value=text),)


def build_result_metadata(
    query_result: QueryResult,
    *,
    infos: Sequence[InfoElement] = (),
    name: str | None = None,
    has_query_status: bool = True,
    site_url: str = "",
) -> TableMetadata:
    """Describe a result for a format.

    Parameters
    ----------
    query_result
        A result, with its columns.
    infos
        Further INFO elements, which come first.
    name
        Name of the table in the document.
    has_query_status
        Whether the document has QUERY_STATUS (DALI 1.1, section 4.4).
    site_url
        Address of the site as the request has it; empty: that of the settings.

    Returns
    -------
    head
        Columns, the frames, groups and constants that they refer to, and the origin of the rows.
    """
    context = _collect_frames_and_groups(query_result.columns, query_result.tables, query_result.renamed_columns)
    return TableMetadata(
        columns=query_result.columns,
        name=name,
        infos=(*infos, _SOFTWARE_INFO, *query_result.origins),
        frames=context.frames,
        groups=context.groups,
        enums=context.enums,
        params=context.params,
        descriptors_xml=tuple(
            descriptor.replace(SITE_URL_PLACEHOLDER, site_url or query_result.site_url)
            for descriptor in query_result.descriptors
        ),
        includes_query_status=has_query_status,
    )

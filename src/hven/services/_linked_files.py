"""Find the states of the files to which links lead: access rights, media types and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hven.model.table import find_file_root_and_relative_path
from hven.services import collection_files
from hven.site.auth import ANONYMOUS_PRINCIPAL, has_same_access_as_public

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal


class LinkedFileState(NamedTuple):
    """State of a file for a reader; ``auth`` is None if there is no such file or it is hidden from the reader."""

    auth: str | None
    can_access: bool
    is_hidden: bool
    media_type: str | None = None
    size: int | None = None
    direct_url: str | None = None


def read_file_states(
    context: ServiceContext,
    principal: Principal,
    files: Sequence[tuple[str, str | None]],
    published_state: PublishedState,
) -> dict[tuple[str, str | None], LinkedFileState]:
    """Read the states of files, with one query a collection."""
    paths_by_collection: dict[str, dict[str, None]] = {}
    for collection, path in files:
        if path is not None:
            paths_by_collection.setdefault(collection, {})[path] = None
    states_by_file: dict[tuple[str, str | None], LinkedFileState] = {}
    for collection, collection_paths in paths_by_collection.items():
        for path, state in _list_file_states(context, principal, collection, [*collection_paths], published_state):
            states_by_file[collection, path] = state
    return states_by_file


def _list_file_states(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    paths: Sequence[str],
    published_state: PublishedState,
) -> Iterator[tuple[str, LinkedFileState]]:
    """Yield the states of files of a collection."""
    file_access = collection_files.check_file_access(context, principal, collection, paths, published_state)
    public_access = file_access
    if not _is_same_as_public_access(context, principal, file_access):
        public_access = collection_files.check_file_access(
            context, ANONYMOUS_PRINCIPAL, collection, paths, published_state
        )
    public_paths = _collect_listed_paths(public_access)
    for files, file_rows in file_access.listed:
        facts = (file_rows[column].to_pylist() for column in ("path", "media_type", "bytes", "url"))
        has_redirects = any(root.redirects_clients for root in files.roots)
        for path, media_type, size, url in zip(*facts, strict=True):
            direct_url = None
            if has_redirects and find_file_root_and_relative_path(path, files.roots)[0].redirects_clients:
                direct_url = url
            auth = "false" if path in public_paths else "true"
            yield path, LinkedFileState(auth, True, False, media_type, size, direct_url)
    accessible_paths = _collect_listed_paths(file_access)
    for path in paths:
        if path not in accessible_paths:
            locked_auth = "true" if path in file_access.locking_tables else None
            yield path, LinkedFileState(locked_auth, False, path in file_access.hidden_paths)


def _is_same_as_public_access(
    context: ServiceContext, principal: Principal, file_access: collection_files.FileAccess
) -> bool:
    """Tell whether everybody gets the same answer as this reader, so that it need not be computed twice."""
    if principal.is_anonymous:
        return True
    if file_access.policy_tables or not file_access.listed:
        return False
    return has_same_access_as_public(file_access.listed[0][0], principal, context.policies)


def _collect_listed_paths(file_access: collection_files.FileAccess) -> set[str]:
    paths: set[str] = set()
    for _, file_rows in file_access.listed:
        paths.update(file_rows["path"].to_pylist())
    return paths

"""Files of collections that lie on other servers.

What these say of them now, whether they are the ones that were published, and which fault it is when not.

Common
------
context
    The site.
row
    As `hven.services.collection_files.find_files` found it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hven.model.errors import HvenError, StorageUnavailableError, UpstreamError, format_message
from hven.model.table import find_root
from hven.services._remote_blocks import RemoteBlockCache
from hven.sources.remote_stores import LATER_REMEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.model.table import FileRoot
    from hven.services._remote_blocks import RemoteFileState
    from hven.services.face import ServiceContext

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MAX_CONCURRENT_CALLS = 8  # threads of one reader that wait for other servers
FILES_PER_REQUEST = 64  # files of other servers that are asked about at a time


def get_remote_block_cache(context: ServiceContext) -> RemoteBlockCache:
    """Return what reads files on other servers."""
    block_cache: RemoteBlockCache = context.site.get_or_create(RemoteBlockCache, context.site.settings)
    return block_cache


def find_remote_root(row: dict[str, Any]) -> tuple[FileRoot, str] | None:
    """Return where a file lies on another server: its root, and its path below; None: it lies here."""
    file_root = find_root(row["path"], row["roots"])
    if file_root[0].scheme is None:
        return None
    return file_root


@contextmanager
def name_failed_file(row: dict[str, Any]) -> Iterator[None]:
    """Say which file it is that another server does not give.

    Raises
    ------
    UpstreamError
        With its path, as readers know it.
    """
    try:
        yield
    except UpstreamError as error:
        message = format_message("the file {path} cannot be had now: {reason}", row["path"], error.message)
        raise type(error)(message, remedy=error.remedy) from error


def check_published_state(row: dict[str, Any], file_state: RemoteFileState) -> RemoteFileState:
    """See that a file elsewhere is the one that was published.

    Parameters
    ----------
    file_state
        What its server says of it.

    Returns
    -------
    found
        The same.

    Raises
    ------
    StorageUnavailableError
        It is another one.
    """
    when = get_modification_time(row)
    is_changed = when is not None and file_state.file_fact.modified not in {None, when}
    if is_changed or row["bytes"] not in {None, file_state.bytes}:
        raise build_changed_error(row)
    return file_state


def get_modification_time(row: dict[str, Any]) -> datetime | None:
    """Return when a file was changed: UTC, without a zone."""
    if row["modified"] is None:
        return None
    return datetime.fromtimestamp(row["modified"], UTC).replace(tzinfo=None)


def request_file_state(
    context: ServiceContext, row: dict[str, Any], *, with_first_block: bool = False
) -> RemoteFileState | None:
    """Ask what a file elsewhere is now, in a thread.

    Parameters
    ----------
    with_first_block
        Its bytes are wanted next.

    Returns
    -------
    file
        None: it lies here.

    Raises
    ------
    UpstreamError, StorageUnavailableError
        Its server does not give it, or has another one.
    """
    remote_root = find_remote_root(row)
    if remote_root is None:
        return None
    block_cache = get_remote_block_cache(context)
    with name_failed_file(row):
        return check_published_state(
            row,
            block_cache.wait_for_future(
                block_cache.start_file_request(*remote_root, with_first_block=with_first_block)
            ),
        )


def build_read_ahead(around: ServiceContext, row: dict[str, Any]) -> Callable[[], None] | None:
    """Return what begins to read a file on another server, for who needs it soon.

    Parameters
    ----------
    row
        Of the file.

    Returns
    -------
    begin
        Does not wait, and raises nothing; None: the file lies here, or has no bytes.
    """
    if row["bytes"]:
        remote_root = find_remote_root(row)
    else:
        remote_root = None
    if remote_root is None:
        return None
    return partial(get_remote_block_cache(around).begin_reading, *remote_root)


def request_file_states(context: ServiceContext, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any] | HvenError]:
    """Ask for files on other servers, several at once, so that each has a size, a time and a state.

    Parameters
    ----------
    rows
        Of such files, as `asked` found them. Of those whose size and time were published nothing is asked.

    Returns
    -------
    rows
        In their order; why one cannot be had, where its server says so or its bytes did not come a while ago.
    """
    block_cache = get_remote_block_cache(context)
    results: list[dict[str, Any] | HvenError] = []
    for at in range(0, len(rows), FILES_PER_REQUEST):
        rooted_rows = [(row, *find_root(row["path"], row["roots"])) for row in rows[at : at + FILES_PER_REQUEST]]
        is_published = [row["bytes"] is not None and row["modified"] is not None for row, _, _ in rooted_rows]
        asking = [
            None if has_state else block_cache.start_file_request(root, below)
            for has_state, (_, root, below) in zip(is_published, rooted_rows, strict=True)
        ]
        for (row, root, below), answer in zip(rooted_rows, asking, strict=True):
            try:
                with name_failed_file(row):
                    fault = block_cache.find_recent_failure(root, below)
                    if fault is not None:
                        raise fault
                    if answer is not None:
                        file = check_published_state(row, block_cache.wait_for_future(answer))
                        modified = file.file_fact.modified
                        seconds = 0.0
                        if modified is not None:
                            seconds = modified.replace(tzinfo=UTC).timestamp()
                        tag = row["sha256"] or file.key
                        row = {**row, "bytes": file.bytes, "modified": seconds, "tag": tag}  # noqa: PLW2901
                results.append(row)
            except HvenError as error:
                results.append(error)
    return results


def is_temporary_failure(error: HvenError) -> bool:
    """Return whether a fault is one of a server that may give the file later: what is made without it is not the same.

    Parameters
    ----------
    error
        Any.
    """
    return isinstance(error, UpstreamError) and error.remedy == LATER_REMEDY


def call_concurrently(call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Call a function for some items, several at once: it waits for other servers.

    Parameters
    ----------
    call
        Thread-safe.
    items
        Any.

    Returns
    -------
    answers
        In the items' order.
    """
    with ThreadPoolExecutor(MAX_CONCURRENT_CALLS, "hven-elsewhere") as pool:
        return list(pool.map(call, items))


def get_state_key(context: ServiceContext, row: dict[str, Any]) -> str:
    """Return what tells a state of a file from others."""
    remote_state = request_file_state(context, row)
    if remote_state is None:
        return str(row["tag"])
    return remote_state.key


def build_changed_error(row: dict[str, Any]) -> StorageUnavailableError:
    """Make the fault of a file that is not the one that was published."""
    return StorageUnavailableError(
        f"the file {row['path']} was changed since it was published",
        remedy="its owner must ingest the collection again",
    )

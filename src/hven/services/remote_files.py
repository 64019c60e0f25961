"""Request the state of collections' files on other servers, and check that it is the published one.

A plug-in package reads the files (`hven.model.plugins.PluginPackage.remote_file_cache`).

Common
------
context
    Service context of the site.
row
    Row of a file, as `hven.services.collection_files.find_files` returns it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hven.model import plugins
from hven.model.errors import HvenError, StorageUnavailableError, UpstreamError, format_message
from hven.model.table import find_file_root_and_relative_path
from hven.sources.remote_stores import LATER_REMEDY, OWNER_REMEDY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from concurrent.futures import Future

    from hven.model.table import FileRoot
    from hven.services.face import ServiceContext
    from hven.sources.remote_stores import RemoteFileFacts

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MAX_CONCURRENT_CALLS = 8  # threads of one request that wait for other servers
FILES_PER_REQUEST = 64  # files on other servers whose states are requested concurrently


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFileState:
    """State of a file on another server.

    Attributes
    ----------
    root, path
        Root of the file, and its path below the root.
    file_fact
        What the server states.
    bytes
        Size.
    key
        Identifies this state of this file.
    """

    root: FileRoot
    path: str
    file_fact: RemoteFileFacts
    bytes: int
    key: str


class RemoteFileCache(Protocol):
    """What reads files on other servers for all readers of a site."""

    async def get_file_state(self, root: FileRoot, path: str) -> RemoteFileState:
        """Request the current state of a file.

        Parameters
        ----------
        root, path
            Root of the file, and its path below the root.

        Returns
        -------
        file_state
            The state.

        Raises
        ------
        UpstreamError
            The server does not give the file, or does not respond in time.
        OverloadedError
            Too many requests wait for other servers.
        """

    def start_file_state_request(
        self, root: FileRoot, path: str, *, with_first_block: bool = False
    ) -> Future[RemoteFileState]:
        """Begin to request the current state of a file.

        Parameters
        ----------
        root, path
            Root of the file, and its path below the root.
        with_first_block
            Whether the request also fetches the first bytes of a file whose state is not cached.

        Returns
        -------
        file_request
            Has the state, or an error as `get_file_state` raises it.

        Raises
        ------
        OverloadedError
            Too many requests wait for other servers.
        """

    def preload_first_block(self, root: FileRoot, path: str) -> None:
        """Begin to fetch the first bytes of a file that is needed soon; an error is raised when the file is read.

        Parameters
        ----------
        root, path
            Root of the file, and its path below the root.
        """

    def wait_for_future(self, future: Future[Any]) -> Any:
        """Wait in a thread for a request that runs.

        Parameters
        ----------
        future
            A request, as `start_file_state_request` returns it.

        Returns
        -------
        result
            Result of the request.

        Raises
        ------
        OverloadedError
            Too many threads wait for other servers.
        """

    def find_recent_failure(self, root: FileRoot, path: str) -> UpstreamError | None:
        """Find why a file could not be read a short time ago.

        Parameters
        ----------
        root, path
            Root of the file, and its path below the root.

        Returns
        -------
        error
            None if it was not tried or succeeded.
        """

    def read_spans(
        self, file: RemoteFileState, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False
    ) -> Iterator[bytes]:
        """Read bytes at some offsets, in a thread.

        Parameters
        ----------
        file
            State of the file.
        span_bytes
            Bytes of each span; the end of the file cuts a span off.
        offsets
            Offsets of the first bytes.
        read_ahead
            Whether the bytes behind the spans are needed next.

        Yields
        ------
        span
            The spans, in the order of the offsets.
        """

    def stream_pieces(self, file: RemoteFileState, begin: int, end: int) -> AsyncGenerator[bytes]:
        """Read the bytes from `begin` to before `end`, as fast as the client takes them.

        Parameters
        ----------
        file
            State of the file.
        begin, end
            Offset of the first byte, and the one behind the last.

        Yields
        ------
        piece
            Bytes, in order.
        """


@dataclass(frozen=True, slots=True)
class RemoteFileRanges:
    """Byte ranges of a state of a file on another server (`hven.formats.media.RemoteFileBytes`).

    Attributes
    ----------
    cache, file
        What reads the file, and the state.
    """

    cache: RemoteFileCache
    file: RemoteFileState

    @property
    def length(self) -> int:
        """Size of the file in bytes."""
        return self.file.bytes

    def read_spans(self, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False) -> Iterator[bytes]:
        """Read bytes at some offsets, in a thread.

        Parameters
        ----------
        span_bytes, offsets, read_ahead
            As for `RemoteFileCache.read_spans`.

        Yields
        ------
        span
            The spans, in the order of the offsets.
        """
        return self.cache.read_spans(self.file, span_bytes, offsets, read_ahead=read_ahead)


@plugins.cache_until_selection
def _load_cache_class() -> Any:
    """Load the class of the first package in use that has one; None: no package has."""
    return next((cache_class for _, cache_class in plugins.iterate_package_objects("remote_file_cache")), None)


def get_remote_file_cache(context: ServiceContext) -> RemoteFileCache:
    """Return what reads files on other servers for the site.

    Raises
    ------
    UpstreamError
        No package in use reads them.
    """
    cache_class = _load_cache_class()
    if cache_class is None:
        raise UpstreamError("the file's server cannot be accessed", remedy=OWNER_REMEDY)
    file_cache: RemoteFileCache = context.site.get_or_create(cache_class, context.site.settings)
    return file_cache


def find_remote_root(row: dict[str, Any]) -> tuple[FileRoot, str] | None:
    """Return root and path below the root of a file on another server; None for a local file."""
    file_root = find_file_root_and_relative_path(row["path"], row["roots"])
    if file_root[0].scheme is None:
        return None
    return file_root


@contextmanager
def add_file_path_to_errors(row: dict[str, Any]) -> Iterator[None]:
    """Add the path of the file to the error of another server.

    Raises
    ------
    UpstreamError
        The same error, with the path in the collection in its message.
    """
    try:
        yield
    except UpstreamError as error:
        message = format_message("the file {path} is not available at the moment: {reason}", row["path"], error.message)
        raise type(error)(message, remedy=error.remedy) from error


def require_unchanged_remote_file(row: dict[str, Any], file_state: RemoteFileState) -> RemoteFileState:
    """Check that a file on another server has the size and the modification time that were published.

    Parameters
    ----------
    file_state
        Current state of the file on its server.

    Returns
    -------
    file_state
        The same state.

    Raises
    ------
    StorageUnavailableError
        The file was changed.
    """
    published_time = get_modification_time(row)
    is_changed = published_time is not None and file_state.file_fact.modified not in {None, published_time}
    if is_changed or row["bytes"] not in {None, file_state.bytes}:
        raise build_changed_error(row)
    return file_state


def get_modification_time(row: dict[str, Any]) -> datetime | None:
    """Return the published modification time of a file, in UTC without a zone; None where it is not known."""
    if row["modified"] is None:
        return None
    return datetime.fromtimestamp(row["modified"], UTC).replace(tzinfo=None)


def request_unchanged_file_state(
    context: ServiceContext, row: dict[str, Any], *, with_first_block: bool = False
) -> RemoteFileState | None:
    """Request the current state of a file on another server, in a thread.

    Parameters
    ----------
    with_first_block
        Whether the first block is fetched in the same request, because its bytes are needed next.

    Returns
    -------
    file_state
        State of the file; None for a local file.

    Raises
    ------
    UpstreamError, StorageUnavailableError
        The server does not give the file, or the file was changed.
    """
    remote_root = find_remote_root(row)
    if remote_root is None:
        return None
    with add_file_path_to_errors(row):
        file_cache = get_remote_file_cache(context)
        file_request = file_cache.start_file_state_request(*remote_root, with_first_block=with_first_block)
        return require_unchanged_remote_file(row, file_cache.wait_for_future(file_request))


def create_read_ahead_call(context: ServiceContext, row: dict[str, Any]) -> Callable[[], None] | None:
    """Return a function that begins to fetch a file on another server that is needed soon.

    Returns
    -------
    begin_reading
        Function that does not wait and raises nothing; None for a local or empty file.
    """
    if not row["bytes"]:
        return None
    remote_root = find_remote_root(row)
    if remote_root is None:
        return None
    return partial(_preload_file, context, *remote_root)


def _preload_file(context: ServiceContext, root: FileRoot, path: str) -> None:
    with suppress(UpstreamError):  # it is raised again when the file is read
        get_remote_file_cache(context).preload_first_block(root, path)


def complete_rows_with_remote_file_states(
    context: ServiceContext, file_rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any] | HvenError]:
    """Complete the size, the time and the state of files on other servers, with several requests at once.

    Parameters
    ----------
    file_rows
        Rows of such files, as `hven.services.collection_files.find_files` returns them. A file with a published size
        and time needs no request.

    Returns
    -------
    rows
        Rows in the same order; an error in place of a row if its server does not give the file, or if the file could
        not be read a short time ago.
    """
    results: list[dict[str, Any] | HvenError] = []
    try:
        file_cache = get_remote_file_cache(context)
    except UpstreamError as error:
        return [error] * len(file_rows)
    for start in range(0, len(file_rows), FILES_PER_REQUEST):
        file_requests: list[tuple[dict[str, Any], FileRoot, str, Future[RemoteFileState] | None]] = []
        for row in file_rows[start : start + FILES_PER_REQUEST]:
            root, path_below = find_file_root_and_relative_path(row["path"], row["roots"])
            file_request = None
            if row["bytes"] is None or row["modified"] is None:
                file_request = file_cache.start_file_state_request(root, path_below)
            file_requests.append((row, root, path_below, file_request))
        for row, root, path_below, file_request in file_requests:
            try:
                with add_file_path_to_errors(row):
                    failure = file_cache.find_recent_failure(root, path_below)
                    if failure is not None:
                        raise failure
                    if file_request is None:
                        results.append(row)
                    else:
                        file_state = require_unchanged_remote_file(row, file_cache.wait_for_future(file_request))
                        results.append(_with_remote_file_state(row, file_state))
            except HvenError as error:
                results.append(error)
    return results


def _with_remote_file_state(row: dict[str, Any], file_state: RemoteFileState) -> dict[str, Any]:
    """Return a row with the size, the time and the state that a file has on its server."""
    modified = file_state.file_fact.modified
    modified_seconds = 0.0
    if modified is not None:
        modified_seconds = modified.replace(tzinfo=UTC).timestamp()
    tag = row["sha256"] or file_state.key
    return {**row, "bytes": file_state.bytes, "modified": modified_seconds, "tag": tag}


def is_temporary_failure(error: HvenError) -> bool:
    """Return whether a server may give the file later, so that a result without the file must not be cached.

    Parameters
    ----------
    error
        Error of a file.

    Returns
    -------
    is_temporary
        False if the file cannot be had later, either.
    """
    return isinstance(error, UpstreamError) and error.remedy == LATER_REMEDY


def call_concurrently(
    call: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    timeout_seconds: float | None = None,
    late_answer: Any = None,
) -> list[Answer]:
    """Call a function that waits for other servers for several items at once.

    Parameters
    ----------
    call
        Thread-safe function of one item.
    items
        Items of the calls.
    timeout_seconds
        Seconds to wait for all calls; None: until all have ended.
    late_answer
        What stands for the result of a call that takes longer.

    Returns
    -------
    answers
        Results in the order of the items.
    """
    pool = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, "hven-elsewhere")
    try:
        futures = [pool.submit(call, item) for item in items]
        ended_futures, _ = wait(futures, timeout=timeout_seconds)
        return [future.result() if future in ended_futures else late_answer for future in futures]
    finally:
        pool.shutdown(wait=timeout_seconds is None, cancel_futures=True)


def request_file_state_key(context: ServiceContext, row: dict[str, Any]) -> str:
    """Return a key that identifies the current state of a file."""
    remote_state = request_unchanged_file_state(context, row)
    if remote_state is None:
        return str(row["tag"])
    return remote_state.key


def build_changed_error(row: dict[str, Any]) -> StorageUnavailableError:
    """Build the error of a file that was changed after it was published.

    Parameters
    ----------
    row
        Row of the table of files.

    Returns
    -------
    error
        Error that names the file.
    """
    return StorageUnavailableError(
        f"the file {row['path']} has changed since it was published",
        remedy="ingest the collection again",
    )

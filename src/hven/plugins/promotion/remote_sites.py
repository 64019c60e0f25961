"""The site of another machine, from which collections are promoted: what it sends is checked, and has limits."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import descriptor
from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    parse_yaml_file,
    read_yaml_file,
)
from hven.jobs.health import MIN_FREE_DISK_BYTES
from hven.model.errors import NotFoundError, SourceError, StorageError, TooLargeError, UserError
from hven.model.settings import resolve_secret
from hven.model.table import FILES_UTYPE
from hven.plugins.promotion import pinned_directories, transfers
from hven.plugins.promotion.collection_states import CollectionState, PromotableCollections, SourceCollection
from hven.plugins.promotion.package_selection import select_packages_of
from hven.plugins.promotion.row_copies import SourceRows
from hven.sources import http_client
from hven.sources.api.services import extract_error_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.plugins.promotion.row_copies import Flags, RowHashes
    from hven.plugins.promotion.settings import PromotionTarget
    from hven.sources.http_client import StreamedAnswer

MAX_MANIFEST_BYTES = 64 * 1024**2
MAX_BATCH_BYTES = 512 * 1024**2  # of one message of rows, which is read into memory
SILENCE_TIMEOUT_SECONDS = 300.0  # the other site reads whole tables before it answers
MIN_BYTES_A_SECOND = 1_000  # an answer that is slower for a minute is given up
SLOWNESS_CHECK_SECONDS = 60.0
MIN_SCANNED_BYTES_A_SECOND = 1_000_000  # the other site may read a whole snapshot before it sends a few rows
MAX_SCAN_SECONDS = 6 * 3600.0
PATH_KEYS = {
    "ca",
    "file",
    "files",
    "include",
    "readme",
    "root",
    "source",
}  # their texts are paths, whether or not there is a file
MAX_PATH_CHARACTERS = 4096
FILE_SCHEMES = {"duckdb", "file", "sqlite"}
_WILDCARD_PATTERN = re.compile(r"[*?\[{]")
_ESCAPING_PATH_PATTERN = r"(^|/)(\.\.)?(/|$)"  # an empty part, or ..


class RemoteSite:
    """A site with an address; see `PromotionSource`.

    Parameters
    ----------
    target
        The section ``[targets.NAME]`` that has its address.
    settings
        Settings of this site.
    """

    def __init__(self, target: PromotionTarget, settings: Settings) -> None:
        self.name = target.name
        self.url = target.url.rstrip("/")
        self._authorization = f"Bearer {resolve_secret(settings.directory, target.token)}"
        self._allow_private = settings.allow_private
        self._connections = http_client.HttpConnections(SILENCE_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        """Keep connections open."""
        self._connections.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._connections.close()

    def list_collections(self) -> PromotableCollections:
        """List the collections that the other site can send."""
        path = "/promotions"
        try:
            document = json.loads(self.fetch_bytes(path, MAX_MANIFEST_BYTES))
            names, names_without_rows = (
                sorted(str(name) for name in document.get(key, ())) for key in ("collections", "without_rows")
            )
            return PromotableCollections(names, names_without_rows)
        except (ValueError, AttributeError, TypeError) as error:
            raise SourceError(
                f"{self.url}{path} is not a list of collections",
                remedy="write the address of a Hven site that has the package promotion",
            ) from error

    def read_collection(
        self, name: str, target: CollectionState, work_directory: Path, *, is_dry_run: bool
    ) -> SourceCollection:
        """Fetch what the other site publishes of a collection, with the files that this site lacks."""
        path = f"/promotions/{quote(name)}"
        data = self.fetch_bytes(path, MAX_MANIFEST_BYTES)
        manifest = transfers.Manifest(data, name, f"{self.url}{path}")
        if manifest.site_id == target.site_id:
            raise UserError(
                f"{self.url} is this site itself",
                remedy=f"set `url` of [targets.{self.name}] in hven.toml to the address of the other site",
            )
        if not manifest.records:
            raise NotFoundError(
                f"{self.url} publishes no stored table of {name}",
                remedy=f"run `hven ingest {name}` there, or check the name of the collection",
            )
        self._fetch_files(manifest, path, target, work_directory, is_dry_run=is_dry_run)
        with select_packages_of(target.site.settings):
            resource = descriptor.load_descriptor(work_directory / f"{name}.yaml", target.site.settings)
        descriptor_url = f"{self.url}{path}/files/{quote(name)}.yaml"
        check_confinement(resource, target.site.settings, descriptor_url)
        _check_column_types(resource, manifest, descriptor_url)
        return RemoteCollection(
            name=name,
            resource=resource,
            records=manifest.records,
            tables=manifest.tables,
            remote_site=self,
            site_id=manifest.site_id,
            descriptions=manifest.descriptions,
        )

    def _fetch_files(
        self,
        manifest: transfers.Manifest,
        path: str,
        target: CollectionState,
        work_directory: Path,
        *,
        is_dry_run: bool,
    ) -> None:
        """Bring the files of the collection into a directory; those that this site has are linked."""
        target_files = pinned_directories.list_collection_files(target.directory)
        link_targets = {
            name: _check_link(f"{self.url}{path}", name, facts["link"], target.site.settings)
            if facts["link"].startswith("/")
            else pinned_directories.write_link(name, facts["link"])
            for name, facts in manifest.files.items()
            if "link" in facts
        }
        with pinned_directories.explain_write_errors(work_directory):
            work_directory.mkdir(parents=True)
            for name, facts in manifest.files.items():
                place = work_directory / name
                place.parent.mkdir(parents=True, exist_ok=True)
                if "link" not in facts and not _take_file(target_files.get(name), place, facts):
                    if is_dry_run and facts["checksum"] is None:
                        with pinned_directories.create_file(place) as file:
                            file.truncate(facts["size"])  # its size alone says that it differs
                    else:
                        self._download_file(f"{path}/files/{quote(name)}", place, facts)
                    os.utime(place, ns=(facts["modified"], facts["modified"]))
            for name, link_target in link_targets.items():  # after the files, so that none is written through a link
                (work_directory / name).symlink_to(link_target)

    def _download_file(self, path: str, place: Path, facts: Mapping[str, Any]) -> None:
        free_bytes = shutil.disk_usage(place.parent).free
        if facts["size"] > free_bytes - MIN_FREE_DISK_BYTES:
            raise StorageError(
                f"{self.url}{path} has {facts['size']:,} bytes, but only {free_bytes:,} bytes of the disk are free",
                remedy="free some space on the disk; nothing was published",
            )
        digest = hashlib.sha256()
        byte_count = 0
        with pinned_directories.create_file(place) as file, self.open_answer("GET", path) as answer:
            for part in _check_speed(answer.parts, f"{self.url}{path}"):
                byte_count += len(part)
                if byte_count > facts["size"]:
                    break
                digest.update(part)
                file.write(part)
        if byte_count != facts["size"] or facts["checksum"] not in {None, digest.hexdigest()}:
            raise SourceError(
                f"{self.url}{path} is not the file that the manifest describes",
                remedy="run the command again: the file may have changed meanwhile; nothing was published",
            )

    @contextmanager
    def open_answer(self, method: str, path: str, content: bytes | None = None) -> Iterator[StreamedAnswer]:
        """Send a request, and read its answer as it comes.

        Parameters
        ----------
        method
            HTTP method.
        path
            Path below the address of the site, with parameters.
        content
            Body of the request.

        Raises
        ------
        UserError
            The site refuses the request, or is no Hven site.
        """
        url = f"{self.url}{path}"
        with http_client.stream_answer(
            method,
            url,
            content=content or b"",
            headers={"accept": "*/*", "content-type": transfers.BINARY_MEDIA_TYPE},
            authorization=self._authorization,
            timeout_seconds=SILENCE_TIMEOUT_SECONDS,
            follow_redirects=False,
            allow_private=self._allow_private,
            connections=self._connections,
        ) as answer:
            if answer.status == 200:
                yield answer
                return
            raise _build_refusal(answer, url)

    def fetch_bytes(self, path: str, byte_limit: int, content: bytes | None = None) -> bytes:
        """Fetch a whole answer.

        Parameters
        ----------
        path
            Path below the address of the site, with parameters.
        byte_limit
            Bytes of the answer at most.
        content
            Body of a POST; None: the request is a GET.
        """
        data = bytearray()
        with self.open_answer("GET" if content is None else "POST", path, content) as answer:
            for part in _check_speed(answer.parts, f"{self.url}{path}"):
                data += part
                if len(data) > byte_limit:
                    raise TooLargeError(
                        f"{self.url}{path} returned more than {byte_limit:,} bytes",
                        remedy="check that `url` is the address of the other site, and that both sites use the same "
                        "version of Hven; nothing was published",
                    )
        return bytes(data)


def _build_refusal(answer: StreamedAnswer, url: str) -> UserError:
    """Build the error of a status other than 200."""
    if answer.location:
        return UserError(f"{url} redirects to {answer.location[:200]}", remedy="write the new address in `url`")
    remedies = {
        401: "set `token` to the token of the account that `account` of [targets.NAME] names on the other site",
        403: "set `account` of [targets.NAME] on the other site to the account of the token",
        404: "check the name of the collection, and that the other site has the package promotion",
        429: "try again later",
        503: "try again later",
    }
    message = f"{url} answered with status {answer.status}: {extract_error_text(answer)}"
    return UserError(message, remedy=remedies.get(answer.status, ""))


def _check_speed(parts: Iterator[bytes], url: str, scanned_bytes: int = 0) -> Iterator[bytes]:
    """Yield the parts of an answer, and give up one that hardly makes progress.

    Only the time counts in which this site waits for a part, not the time in which it writes the rows.

    Parameters
    ----------
    parts
        The parts.
    url
        Address of the answer, for messages.
    scanned_bytes
        Bytes that the other site reads for this answer.
    """
    scan_seconds = min(scanned_bytes / MIN_SCANNED_BYTES_A_SECOND, MAX_SCAN_SECONDS)
    waited_seconds = 0.0
    byte_count = 0
    while True:
        begin = time.monotonic()
        part = next(parts, None)
        waited_seconds += time.monotonic() - begin
        if part is None:
            return
        byte_count += len(part)
        sending_seconds = waited_seconds - scan_seconds
        if sending_seconds > SLOWNESS_CHECK_SECONDS and byte_count < sending_seconds * MIN_BYTES_A_SECOND:
            raise SourceError(
                f"{url} sent only {byte_count:,} bytes in {waited_seconds:,.0f} s",
                remedy="check the network and the other site, and run the command again; nothing was published",
            )
        yield part


def _check_link(url: str, name: str, link_target: str, settings: Settings) -> Path:
    """Return the place to which a link of another site leads, with all links in its path resolved.

    Raises
    ------
    UserError
        The place is not below one of the `roots` of this site, or shows files of this site, such as its secrets.
    """
    place = Path(link_target).resolve()
    if not _is_in_roots_outside_site(place, settings):
        raise UserError(
            f"{url}: the file {name!r:.80} is a symbolic link to {str(place)!r:.200}, which is not allowed here",
            remedy="replace the link with the file on the other site, or add the directory of the file to `roots` in "
            "hven.toml here if it is outside this site; nothing was published",
        )
    return place


def _is_in_roots_outside_site(place: Path, settings: Settings) -> bool:
    """Return whether a place is below one of the `roots`, and shows no file of this site."""
    site_directory = settings.directory.resolve()
    roots = [root.resolve() for root in settings.allowed_directories[1:]]
    is_of_site = place.is_relative_to(site_directory) or site_directory.is_relative_to(place)
    return not is_of_site and any(place.is_relative_to(root) for root in roots)


def check_confinement(resource: CollectionSpec, settings: Settings, url: str) -> None:
    """Refuse a descriptor of another site that names files of this site or of this machine.

    Files below its own directory and below `roots` are allowed.

    Parameters
    ----------
    resource
        The descriptor, as this site reads it.
    settings
        Settings of this site.
    url
        Address of the descriptor, for messages.

    Raises
    ------
    UserError
        A text of the descriptor, or of a file that it includes, names another file.
    """
    directory = resource.path.parent.resolve()
    for name in resource.hashes:
        page = None
        if name.endswith((".yaml", ".yml")):
            page = read_yaml_file(directory / name, name, [])
        for key, text in () if page is None else _iterate_texts(parse_yaml_file(page, []), ""):
            if _is_path_of_other_file(key, text, directory, settings):
                raise UserError(
                    f"{url.rpartition('/')[0]}/{name}:{text.place.line}: `{key}` names {str(text)!r:.200}, which is "
                    "neither in the directory of the collection nor in `roots` of this site",
                    remedy="move the file into the directory of the collection on the other site, or add its directory "
                    "to `roots` in hven.toml here if it is outside this site; nothing was published",
                )


def _iterate_texts(node: object, key: str) -> Iterator[tuple[str, LocatedYamlScalar]]:
    """Yield all texts of a descriptor with their keys."""
    if isinstance(node, LocatedYamlMap):
        for name, value in node.items():
            yield from _iterate_texts(value, str(name))
    elif isinstance(node, LocatedYamlList):
        for value in node:
            yield from _iterate_texts(value, key)
    elif isinstance(node, LocatedYamlScalar):
        yield key, node


def _is_path_of_other_file(key: str, text: str, directory: Path, settings: Settings) -> bool:
    """Return whether a text is the path of a file that is neither in a directory nor in `roots`.

    An absolute path can be something else, such as a part of an address, unless its key stands for a file.
    """
    scheme, separator, rest = text.partition(":")
    if separator and scheme.lower().partition("+")[0] in FILE_SCHEMES:
        text = rest.removeprefix("//")
    leads_up = ".." in text.split("/")
    if not (leads_up or text.startswith(("/", "~"))) or len(text) > MAX_PATH_CHARACTERS:
        return False
    is_path = key in PATH_KEYS
    fixed_text = searched_text = _WILDCARD_PATTERN.split(text, maxsplit=1)[0]
    if fixed_text != text:  # other files may begin with the same characters
        searched_text = fixed_text[: fixed_text.rfind("/") + 1] or fixed_text
    is_prose = not is_path and any(map(str.isspace, fixed_text))
    if ".." in text[len(fixed_text) :].split("/") and not is_prose:  # after a wildcard
        return True
    try:
        place, searched_place = (
            (directory / Path(part).expanduser()).resolve() for part in (fixed_text, searched_text)
        )
    except (RuntimeError, ValueError):  # no such user, a circle of links, or a character that no path has
        return is_path
    if searched_place.is_relative_to(directory) or _is_in_roots_outside_site(searched_place, settings):
        return False
    is_of_site = place.is_relative_to(settings.directory.resolve())
    # a name of a file may be too long for `Path.exists`
    return (leads_up and not is_prose) or is_of_site or is_path or os.path.exists(place)  # noqa: PTH110


def _check_column_types(resource: CollectionSpec, manifest: transfers.Manifest, url: str) -> None:
    """Refuse rows whose columns have other types than the descriptor says, whatever digests the other site sends."""
    for spec in resource.tables:
        record = manifest.records.get(spec.table.qualified_name)
        described_types = {column.name: column.type for column in spec.table.columns}
        for column in () if record is None else record.table.columns:
            described_type = described_types.get(column.name, column.type)
            if column.type.arrow != described_type.arrow:
                raise UserError(
                    f"{url}: {spec.table.qualified_name}.{column.name} has the type {described_type.arrow} in the "
                    f"descriptor, but its rows have the type {column.type.arrow}",
                    remedy=f"run `hven ingest {resource.name}` on the other site; nothing was published",
                )


def _take_file(target_path: Path | None, place: Path, facts: Mapping[str, Any]) -> bool:
    """Take a file that this site has already; return whether it has it."""
    if target_path is None or target_path.is_symlink():
        return False
    status = target_path.stat()
    if status.st_size != facts["size"]:
        return False
    if facts["checksum"] is None:
        if status.st_mtime_ns == facts["modified"]:
            os.link(target_path.resolve(), place)
            return True
        return False
    data = target_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != facts["checksum"]:
        return False
    with pinned_directories.create_file(place) as file:
        file.write(data)
    os.utime(place, ns=(facts["modified"], facts["modified"]))
    return True


@dataclass(frozen=True, kw_only=True)
class RemoteCollection(SourceCollection):
    """What the other site publishes of a collection.

    Attributes
    ----------
    descriptions
        Digests of what its descriptor says of the tables there.
    """

    remote_site: RemoteSite
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def open_rows(self, record: Any) -> RemoteRows:
        """Return the rows of a record, which are fetched when they are needed."""
        described_tables = [spec.table for spec in self.required_resource.tables]
        lists_files = any(
            table.utype == FILES_UTYPE and table.qualified_name == record.table.qualified_name
            for table in (record.table, *described_tables)
        )
        return RemoteRows(
            remote_site=self.remote_site, table=record.table, snapshot=record.snapshot, lists_files=lists_files
        )

    def compute_description_digests(self) -> dict[str, str]:
        """Return the digests that the other site computed with its own settings."""
        return dict(self.descriptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRows(SourceRows):
    """Rows of a snapshot of another site.

    Attributes
    ----------
    lists_files
        Whether each row has the path of a file, which must be in the directory of the collection or below its roots.
    """

    remote_site: RemoteSite
    lists_files: bool

    def _build_path(self, kind: str, **parameters: str) -> str:
        schema, _, name = self.table.qualified_name.partition(".")
        words = "".join(f"&{key}={value}" for key, value in parameters.items())
        return f"/promotions/{quote(schema)}/{quote(name)}/{kind}?snapshot={quote(self.snapshot.id)}{words}"

    def compute_hashes(self) -> RowHashes:
        """Fetch the sums of the blocks; the hashes of single rows are fetched when they are needed."""
        data = self.remote_site.fetch_bytes(self._build_path("hashes"), transfers.BLOCKS_BYTES)

        def fetch_rows(mask: Flags, byte_count: int) -> bytes:
            if not byte_count:
                return b""
            path = self._build_path("hashes", blocks=np.packbits(mask).tobytes().hex())
            return self.remote_site.fetch_bytes(path, byte_count)

        return transfers.read_blocks(data, self.snapshot.rows, fetch_rows, self.remote_site.url)

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Fetch all rows."""
        yield from self._fetch_rows(b"", self.snapshot.rows)

    def select_batches(self, mask: Flags, column_names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Fetch the rows of a mask.

        Parameters
        ----------
        mask
            One value for each row, in stored order.
        column_names
            Names of the columns.
        """
        if mask.any():
            for batch in self._fetch_rows(np.packbits(mask).tobytes(), int(mask.sum())):
                yield batch.select(list(column_names))

    def _fetch_rows(self, mask: bytes, row_count: int) -> Iterator[pa.RecordBatch]:
        """Fetch rows as an Arrow stream, and check that they are as many as were wanted, with the columns of the table.

        Raises
        ------
        SourceError
            The rows are others.
        UserError
            A row names a file outside of the collection.
        """
        path = self._build_path("rows")
        url = f"{self.remote_site.url}{path}"
        wanted_schema = self.table.arrow_schema
        received_rows = 0
        with self.remote_site.open_answer("POST", path, mask) as answer:
            stream = _PartReader(_check_speed(answer.parts, url, self.snapshot.bytes), url)
            try:
                with pa.ipc.open_stream(pa.PythonFile(stream, "r")) as reader:
                    for batch in reader:
                        received_rows += batch.num_rows
                        if received_rows > row_count:
                            break
                        batch.validate(full=True)  # first, because a cast reads where damaged offsets lead
                        checked_batch = batch.select(wanted_schema.names).cast(wanted_schema)
                        if self.lists_files:
                            self._check_paths(checked_batch, url)
                        yield checked_batch
            except (pa.ArrowException, KeyError) as error:
                raise SourceError(
                    f"{url} is not a stream of rows of {self.table.qualified_name}: {error!s:.200}",
                    remedy="check the network and the other site, and run the command again; nothing was published",
                ) from error
        if received_rows != row_count:
            raise SourceError(
                f"{url} sent {received_rows:,} instead of {row_count:,} rows",
                remedy="run the command again; nothing was published",
            )

    def _check_paths(self, batch: pa.RecordBatch, url: str) -> None:
        """Refuse paths with which readers of this site would get files of other collections."""
        if "path" not in batch.schema.names:
            return
        paths = batch.column("path").cast(pa.string())
        escaping_paths = paths.filter(pc.match_substring_regex(paths, _ESCAPING_PATH_PATTERN))
        if len(escaping_paths):
            raise UserError(
                f"{url}: a row of {self.table.qualified_name} has the path {escaping_paths[0].as_py()!r:.200}, which "
                "is not below the directory of the collection",
                remedy=f"correct this path on the other site, and run `hven ingest {self.table.schema}` there: a path "
                "must not have empty parts, or .. as a part; nothing was published",
            )


class _PartReader(io.RawIOBase):
    """Parts of an answer as a file, with a limit on the bytes of one read."""

    def __init__(self, parts: Iterator[bytes], url: str) -> None:
        super().__init__()
        self._parts = parts
        self._buffer = bytearray()
        self._url = url

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read bytes; fewer only at the end.

        Parameters
        ----------
        size
            Number of bytes.
        """
        if size > MAX_BATCH_BYTES or size < 0:
            raise TooLargeError(
                f"{self._url} sends more than {MAX_BATCH_BYTES:,} bytes at once",
                remedy="use the same version of Hven on both sites; nothing was published",
            )
        while len(self._buffer) < size:
            part = next(self._parts, None)
            if part is None:
                break
            self._buffer += part
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

"""Files that a client sends -> their places below a root of the collection, and what their readers make of them.

All of it, or nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from hven.descriptor.tables import FILES_SOURCE_KIND
from hven.ingest._client_writes import (
    DELETE_ACTION,
    POST_ACTION,
    ClientWrite,
    RowsRefusedError,
    WriteResult,
    is_if_match_met,
)
from hven.ingest._file_targets import (
    FilePush,
    FileTarget,
    compute_file_digest,
    find_spool_directory,
    roll_back_interrupted_pushes,
)
from hven.ingest._ingest_pipeline import create_run_id
from hven.ingest._pushed_rows import KeyTakenError
from hven.ingest._rules import ERROR_SEVERITY
from hven.ingest._staged_site import load_current_descriptor
from hven.ingest._uploaded_archives import unpack_archive
from hven.model import plugins
from hven.model.errors import (
    NotFoundError,
    ParamError,
    PreconditionFailedError,
    SourceError,
    StorageUnavailableError,
    format_message,
)
from hven.model.table import FileRoot
from hven.site.store import ClientPush, format_current_time
from hven.sources import FileListSource
from hven.sources.remote_stores import find_fixed_directory, is_pattern_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest._ingest_pipeline import CollectionRun
    from hven.ingest._ledger import SourceEntry
    from hven.ingest._report import RuleFinding
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.store import Lease

MAX_PATH_BYTES = 1000  # bytes of a path


def find_file_entry(spec: TableSpec, path: str) -> SourceSpec | None:
    """Find which entry of ``files:`` takes a file of some path; of all that take any the first, for the empty path."""
    for source in spec.sources:
        if (
            source.kind == FILES_SOURCE_KIND
            and source.options.get("writers")
            and (not path or _find_path_below_root(source.options, path) is not None)
        ):
            return source
    return None


def _find_path_below_root(options: Mapping[str, Any], path: str) -> str | None:
    """Return the path below the root; None: the entry means no such files."""
    path_prefix = str(options.get("at", ""))
    address = str(options.get("root", ""))
    root = FileRoot(path_prefix=path_prefix, address=address)
    if root.path_prefix:
        prefix = f"{root.path_prefix}/"
    else:
        prefix = ""
    parts = path.split("/")
    is_plain_path = path.isprintable() and len(path.encode()) <= MAX_PATH_BYTES and "\\" not in path
    if (
        root.scheme is not None
        or not path.startswith(prefix)
        or not is_plain_path
        or any(path_part.startswith(".") or not path_part for path_part in parts)
    ):
        return None
    relative_path = path.removeprefix(prefix)
    patterns, ignore = (
        [pattern_value] if isinstance(pattern_value := options.get(key) or [], str) else pattern_value
        for key in ("files", "ignore")
    )
    if is_pattern_match(relative_path, patterns, ignore):
        return relative_path
    return None


def choose_file_path(spec: TableSpec, name: str) -> str:
    """Return the path under which a file is kept that has a name alone.

    Empty: it is an archive, whose files are kept.
    """
    for source in spec.sources:
        if (
            source.kind == FILES_SOURCE_KIND
            and source.options.get("writers")
            and (path := resolve_in_pattern_directory(source.options, name)) != name
        ):
            return path
    if name.lower().endswith(".zip") and find_file_entry(spec, name) is None:
        return ""
    return name


def resolve_in_pattern_directory(options: Mapping[str, Any], name: str) -> str:
    """Put a name into the directory that a pattern names; as it is, where no pattern means it there."""
    patterns = options.get("files") or []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        path = "/".join(filter(None, (str(options.get("at", "")), find_fixed_directory(pattern), name)))
        if _find_path_below_root(options, path) is not None:
            return path
    return name


def find_file_target(site: Site, resource: Resource, source: SourceSpec, path: str) -> FileTarget:
    """Find where a file of a collection lies.

    Raises
    ------
    NotFoundError
        No file may be called so.
    """
    relative_path = _find_path_below_root(source.options, path)
    root_directory = (resource.path.parent / Path(str(source.options.get("root", ""))).expanduser()).resolve()
    target_path = root_directory / (relative_path or "")
    existing_path = next(
        existing_candidate for existing_candidate in (target_path, *target_path.parents) if existing_candidate.exists()
    )
    if (
        relative_path is None
        or not existing_path.resolve().is_relative_to(root_directory)
        or target_path.is_symlink()
        or target_path.is_dir()
    ):
        raise NotFoundError(
            format_message("no file can be called {path!r:.120} here", path),
            remedy="the descriptor says which may be sent: files",
        )
    return FileTarget(find_spool_directory(site), resource.name, target_path)


class FileWrite(ClientWrite):
    """A file, or those of an archive, from what was sent to what is published."""

    def read_body(self, source: SourceSpec) -> None:
        """See what is meant."""
        write = self.request
        self.source = source
        name = "/".join(write.key or ())
        self.sent_files: list[tuple[str, Path | None]] = [(name, write.body)]
        if not name and write.action == POST_ACTION and write.body is not None and is_zipfile(write.body):
            if write.expected_state is not None:
                raise ParamError("an archive has no state that If-Match could name", remedy="send its files by PUT")
            files = unpack_archive(write.body, self.site.settings.limits.upload)
            self.sent_files = [
                (resolve_in_pattern_directory(source.options, file_name), path) for file_name, path in files
            ]
        elif not name or (write.action == DELETE_ACTION) != (write.body is None):
            raise ParamError(
                "a file is sent by PUT under its path, and taken away by DELETE",
                remedy="one at a time, or several by POST of a ZIP archive",
            )

    def may_change_source(self, entry: SourceEntry) -> bool:
        return entry.spec.kind == FILES_SOURCE_KIND or isinstance(entry.source, FileListSource)

    def may_change_table(self, spec: TableSpec) -> bool:
        return any(
            "files" in plugins.load_plugin("sources", source.kind).Options.model_fields for source in spec.sources
        )

    def list_faults(self, run: CollectionRun) -> list[RuleFinding]:
        """List what is wrong with the files, in whatever table."""
        return [
            finding
            for table in run.report.tables.values()
            for finding in table.findings.values()
            if finding.severity == ERROR_SEVERITY
            and any((row.file or "").endswith(self.file_names) for row in finding.offenders)
        ]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files, without directories."""
        return tuple(name.rpartition("/")[2] for name, _ in self.sent_files)

    def write_under_lease(self, lease: Lease) -> WriteResult:
        """Put them there, while nobody else writes, and publish what their readers make of them."""
        site = self.site
        write = self.request
        if write.idempotency_key:
            earlier_push = site.store.pushes.find_push(self.table, token=write.idempotency_key)
        else:
            earlier_push = None
        earlier_result = self.find_earlier_result(earlier_push)
        if earlier_result is not None:
            return earlier_result
        self.check_not_held()
        roll_back_interrupted_pushes(site, self.collection)  # before it is looked at what is there
        resource = load_current_descriptor(site, self.collection)
        targets = [self._find_checked_target(resource, name, body) for name, body in self.sent_files]
        names = [name for name, _ in self.sent_files]
        is_deletion = write.action == DELETE_ACTION
        if len(targets) == 1:
            single_body = self.sent_files[0][1]
        else:
            single_body = None
        run = create_run_id()
        if single_body is None:
            state = ""
        else:
            state = compute_file_digest(single_body)
        push = ClientPush(
            run=run,
            table=self.table,
            collection=self.collection,
            at=format_current_time(),
            by=self.account_name,
            action=write.action,
            rows=0 if is_deletion else len(targets),
            removed=int(is_deletion),
            token=write.idempotency_key,
            digest=self.digest,
            answer={"ids": names, "state": state or run},
        )
        report = self.create_report(run)
        try:
            with ExitStack() as stack:
                file_push = FilePush(run=run, table=self.table)
                for place, (_, body) in zip(targets, self.sent_files, strict=True):
                    stack.enter_context(place.replace_file(body, file_push))
                self.publish_push(resource, report, push, lease)
                file_push.keep_files = not write.dry_run
        except StorageUnavailableError as error:
            cause = error.__cause__
            file_name = next((last for last in self.file_names if last in str(cause)), None)
            if not isinstance(cause, SourceError) or file_name is None:
                raise
            message = format_message("{file!r:.120} cannot be read: {message}", file_name, cause.message)
            raise RowsRefusedError(message, report, remedy="nothing was written") from error
        if not report.published and not write.dry_run:
            site.store.pushes.commit_push(push, lease)
        is_new_file = not is_deletion and not all(place.digest for place in targets)
        return WriteResult(
            run=run,
            ids=names,
            rows=push.rows,
            removed_rows=push.removed,
            state=state or run,
            is_new_file=is_new_file,
            report=report,
        )

    def _find_checked_target(self, resource: Resource, name: str, body: Path | None) -> FileTarget:
        """Find where a file lies, and whether it may be written there."""
        write = self.request
        target = find_file_target(self.site, resource, self.source, name)
        if write.expected_state is not None and (
            not target.digest or not is_if_match_met(write.expected_state, target.digest)
        ):
            raise PreconditionFailedError("the file is another one now", remedy="ask for it anew, and decide again")
        if write.action == POST_ACTION and target.digest not in {
            "",
            compute_file_digest(body) if body is not None else "",
        }:
            raise KeyTakenError(
                format_message("there is a file {path!r:.120} already", name),
                remedy="PUT puts another one in its place",
            )
        if write.action == DELETE_ACTION and not target.digest:
            raise NotFoundError(format_message("there is no file {path!r:.120}", name))
        return target

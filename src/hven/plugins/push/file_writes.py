"""Write files that a client sends below a root of the collection, and publish what their readers make of them.

A write succeeds or fails as a whole.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from hven.ingest.api.changes import ERROR_SEVERITY, create_run_id, load_current_descriptor
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
from hven.plugins.push.file_targets import (
    CollectionFileTarget,
    FilePush,
    compute_file_digest,
    get_spool_directory,
    roll_back_interrupted_file_pushes,
)
from hven.plugins.push.push_store import ClientPush
from hven.plugins.push.pushed_rows import KeyTakenError
from hven.plugins.push.uploaded_archives import unpack_zip_archive
from hven.plugins.push.write_requests import (
    DELETE_ACTION,
    POST_ACTION,
    ClientWrite,
    ClientWriteResult,
    RowsRefusedError,
    is_if_match_met,
)
from hven.site.store import format_current_time
from hven.sources import FileListSource
from hven.sources.remote_stores import find_directory_before_wildcard, is_pattern_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.ingest.api.changes import IngestReport, OpenedSource, RuleFinding
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.store import Lease

FILES_SOURCE_KIND = "files"  # kind of source whose rows are files
MAX_PATH_BYTES = 1000  # longest path of a file


def find_source_for_file(spec: TableSpec, path: str) -> SourceSpec | None:
    """Return the entry of ``files:`` that takes a file with some path; for the empty path, the first that takes any."""
    for source in spec.sources:
        if source.kind != FILES_SOURCE_KIND or not source.options.get("writers"):
            continue
        if not path or _find_allowed_relative_path(source.options, path) is not None:
            return source
    return None


def _find_allowed_relative_path(options: Mapping[str, Any], path: str) -> str | None:
    """Return a path relative to the root of an entry; None: the entry does not take such a file."""
    root = FileRoot(path_prefix=str(options.get("at", "")), address=str(options.get("root", "")))
    prefix = f"{root.path_prefix}/" if root.path_prefix else ""
    if root.scheme is not None or not path.startswith(prefix):
        return None
    if not path.isprintable() or len(path.encode()) > MAX_PATH_BYTES or "\\" in path:
        return None
    if any(path_part.startswith(".") or not path_part for path_part in path.split("/")):
        return None
    relative_path = path.removeprefix(prefix)
    if is_pattern_match(
        relative_path, _list_option_patterns(options, "files"), _list_option_patterns(options, "ignore")
    ):
        return relative_path
    return None


def _list_option_patterns(options: Mapping[str, Any], key: str) -> list[str]:
    """Return the patterns of an option that may be one text or a list."""
    patterns = options.get(key) or []
    if isinstance(patterns, str):
        return [patterns]
    return patterns


def choose_file_path(spec: TableSpec, file_name: str) -> str:
    """Return the path for a file of which only the name is known; empty for an archive, whose files are unpacked."""
    for source in spec.sources:
        if source.kind == FILES_SOURCE_KIND and source.options.get("writers"):
            path = resolve_name_in_pattern_directory(source.options, file_name)
            if path != file_name:
                return path
    if file_name.lower().endswith(".zip") and find_source_for_file(spec, file_name) is None:
        return ""
    return file_name


def resolve_name_in_pattern_directory(options: Mapping[str, Any], file_name: str) -> str:
    """Return the path of a file in the directory that a pattern names; the name itself if no pattern takes it there."""
    path_prefix = str(options.get("at", ""))
    for pattern in _list_option_patterns(options, "files"):
        path_parts = (path_prefix, find_directory_before_wildcard(pattern), file_name)
        path = "/".join(filter(None, path_parts))
        if _find_allowed_relative_path(options, path) is not None:
            return path
    return file_name


def find_file_target(site: Site, resource: CollectionSpec, source: SourceSpec, path: str) -> CollectionFileTarget:
    """Find the place of a file of a collection.

    Raises
    ------
    NotFoundError
        The descriptor allows no such path.
    """
    relative_path = _find_allowed_relative_path(source.options, path)
    root = Path(str(source.options.get("root", ""))).expanduser()
    root_directory = (resource.path.parent / root).resolve()
    target_path = root_directory / (relative_path or "")
    existing_path = next(candidate for candidate in (target_path, *target_path.parents) if candidate.exists())
    # a symbolic link must not lead out of the root
    is_below_root = existing_path.resolve().is_relative_to(root_directory) and not target_path.is_symlink()
    if relative_path is None or not is_below_root or target_path.is_dir():
        raise NotFoundError(
            format_message("the descriptor does not allow a file with the name {path!r:.120}", path),
            remedy="use a name that `files` in the descriptor allows",
        )
    return CollectionFileTarget(get_spool_directory(site), resource.name, target_path)


class ClientFileWrite(ClientWrite):
    """A write of a file, or of the files of an archive, from the body to the publication."""

    def read_request_body(self, source: SourceSpec) -> None:
        """Find the files of the request, and unpack an archive."""
        write = self.request
        self.source = source
        name = "/".join(write.key or ())
        self.sent_files: list[tuple[str, Path | None]] = [(name, write.body)]
        if not name and write.action == POST_ACTION and write.body is not None and is_zipfile(write.body):
            if write.expected_state is not None:
                raise ParamError(
                    "If-Match cannot be used with an archive",
                    remedy="send the files of the archive one by one with PUT",
                )
            self.sent_files = []
            for file_name, path in unpack_zip_archive(write.body, self.site.settings.limits.upload):
                target_name = resolve_name_in_pattern_directory(source.options, file_name)
                self.sent_files.append((target_name, path))
        elif not name or (write.action == DELETE_ACTION) != (write.body is None):
            raise ParamError(
                "the address does not specify a file, or the body does not match the method",
                remedy="to send one file, use PUT with its path; to remove one file, use DELETE without a body; to "
                "send several files, use POST with a ZIP archive",
            )

    def may_change_source(self, entry: OpenedSource) -> bool:
        """Return whether the write may change a source: all that read files."""
        return entry.spec.kind == FILES_SOURCE_KIND or isinstance(entry.source, FileListSource)

    def may_change_table(self, spec: TableSpec) -> bool:
        """Return whether the write may change a table: all that are made from files."""
        for source in spec.sources:
            options = plugins.load_plugin("sources", source.kind).Options
            if "files" in options.model_fields:
                return True
        return False

    def list_request_errors(self, report: IngestReport) -> list[RuleFinding]:
        """List the errors in the files of the request, in all tables."""
        faults = []
        for table in report.tables.values():
            for finding in table.findings.values():
                has_sent_file = any((row.file or "").endswith(self.file_names) for row in finding.offenders)
                if finding.severity == ERROR_SEVERITY and has_sent_file:
                    faults.append(finding)
        return faults

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files of the request, without directories."""
        return tuple(name.rpartition("/")[2] for name, _ in self.sent_files)

    def write_under_lease(self, lease: Lease) -> ClientWriteResult:
        """Write the files under the lease of the collection, and publish what their readers make of them."""
        site = self.site
        write = self.request
        earlier_push: ClientPush | None = None
        if write.idempotency_key:
            earlier_push = self.push_store.find_push(self.table, token=write.idempotency_key)
        earlier_result = self.find_earlier_result(earlier_push)
        if earlier_result is not None:
            return earlier_result
        self.check_collection_not_held()
        roll_back_interrupted_file_pushes(site, self.collection)  # before the targets are read
        resource = load_current_descriptor(site, self.collection)
        targets = [self._find_checked_target(resource, name, body) for name, body in self.sent_files]
        names = [name for name, _ in self.sent_files]
        is_deletion = write.action == DELETE_ACTION
        run = create_run_id()
        state = run
        if len(self.sent_files) == 1:
            single_body = self.sent_files[0][1]
            if single_body is not None:
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
            answer={"ids": names, "state": state},
        )
        report = self.create_report(run)
        try:
            with ExitStack() as stack:
                file_push = FilePush(run=run, table=self.table)
                for target, (_, body) in zip(targets, self.sent_files, strict=True):
                    stack.enter_context(target.replace_file_temporarily(body, file_push))
                self.publish_push(resource, report, push, lease)
                file_push.keep_files = not write.dry_run
        except StorageUnavailableError as error:
            cause = error.__cause__
            file_name = next((name for name in self.file_names if name in str(cause)), None)
            if not isinstance(cause, SourceError) or file_name is None:
                raise
            message = format_message("{file!r:.120} cannot be read: {message}", file_name, cause.message)
            raise RowsRefusedError(message, report, remedy="correct the file; nothing was written") from error
        if not report.published and not write.dry_run:
            self.push_store.commit_push(push, lease)
        is_new_file = not is_deletion and not all(target.digest for target in targets)
        return ClientWriteResult(
            run=run,
            ids=names,
            rows=push.rows,
            removed_rows=push.removed,
            state=state,
            is_new_file=is_new_file,
            report=report,
        )

    def _find_checked_target(self, resource: CollectionSpec, name: str, body: Path | None) -> CollectionFileTarget:
        """Find the place of a file, and check that the request may write it there."""
        write = self.request
        target = find_file_target(self.site, resource, self.source, name)
        if write.expected_state is not None:
            is_expected = bool(target.digest) and is_if_match_met(write.expected_state, target.digest)
            if not is_expected:
                raise PreconditionFailedError(
                    "the file has changed", remedy="request the file again, and check whether your change still applies"
                )
        if write.action == POST_ACTION and target.digest:
            new_digest = ""
            if body is not None:
                new_digest = compute_file_digest(body)
            if target.digest != new_digest:
                raise KeyTakenError(
                    format_message("the file {path!r:.120} already exists", name),
                    remedy="use PUT to replace the file",
                )
        if write.action == DELETE_ACTION and not target.digest:
            raise NotFoundError(format_message("there is no file {path!r:.120}", name))
        return target

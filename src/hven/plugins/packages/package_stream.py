"""Write a package as a TAR while its members are read: a BagIt bag (RFC 8493) or an RO-Crate, in one top folder.

The first members name the package and the files that follow, so that a package that is cut off says what it lacks. The
checksums come last. The memory that is needed does not depend on the sizes of tables and files.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.model.errors import ConflictError, HvenError, StorageUnavailableError
from hven.plugins.packages import package_documents
from hven.plugins.packages.package_members import (
    BAGIT,
    CHANGED,
    COMPLETENESS_MEMBER,
    MISSING,
    PLAN_MEMBER,
    SNAPSHOT_MEMBER,
    LackingItem,
    MemberRecord,
    PackageMember,
    create_text_member,
)
from hven.plugins.packages.snapshot_digests import combine_table_digests
from hven.plugins.promotion.transfers import to_json_value

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hven.plugins.packages.package_contents import PackageContents
    from hven.plugins.packages.package_journal import PackageJournal

TAR_MEDIA_TYPE = "application/x-tar"
CRATE_MEMBER = "ro-crate-metadata.json"
CHECKSUM_METHODS = ("sha256", "sha512")
BLOCK_BYTES, RECORD_BYTES = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
PADDING_BYTES = 1 << 20


class PackageStream:
    """The bytes of a package, from a position that a client or a file already has.

    Parameters
    ----------
    contents
        What the package contains.
    form
        One of `FORMS`.
    journal
        What was written before; it gets what is written now.
    """

    def __init__(self, contents: PackageContents, form: str, journal: PackageJournal) -> None:
        self.contents = contents
        self.form = form
        self.top_folder = f"{contents.name}_{journal.started[:10]}"
        self.snapshot_hash = ""
        self.lacking: list[LackingItem] = list(contents.lacking)
        self.offset = 0
        self._journal = journal
        self._payload_prefix = "data/" if form == BAGIT else ""
        self._records: list[MemberRecord] = []
        self._started = datetime.fromisoformat(journal.started).astimezone(UTC).timestamp()

    def find_complete_bytes(self) -> int:
        """Return how many bytes the members have that the journal knows."""
        return sum(_count_tar_bytes(self._write_header(record), record) for record in self._journal.records.values())

    def iterate_chunks(self, start: int = 0) -> Generator[bytes]:
        """Yield the bytes of the package.

        Parameters
        ----------
        start
            Number of bytes that are not needed. Members before this position are not read again if the journal has
            them; rows are read, and compared with the journal.

        Raises
        ------
        ConflictError
            Something has changed since the members before `start` were written.
        """
        for member in self._iterate_members():
            member_start = self.offset
            for chunk in self._iterate_member_chunks(member, start):
                skipped_bytes = max(start - self.offset, 0)
                self.offset += len(chunk)
                if skipped_bytes < len(chunk):
                    yield chunk[skipped_bytes:]
            record = self._journal.records[member.path]
            self.offset = member_start + _count_tar_bytes(self._write_header(record), record)
            self._records.append(record)
            if record.status:
                self.lacking.append(LackingItem(path=record.path, status=record.status, reason=record.reason))
        end = bytes(2 * BLOCK_BYTES + -(self.offset + 2 * BLOCK_BYTES) % RECORD_BYTES)
        skipped_bytes = max(start - self.offset, 0)
        self.offset += len(end)
        yield end[skipped_bytes:]

    def _iterate_members(self) -> Iterator[PackageMember]:
        """Yield all members in the order of the package."""
        if self.form == BAGIT:
            yield self._create_text("bagit.txt", package_documents.BAGIT_DECLARATION)
        yield self._create_text(PLAN_MEMBER, self._write_plan())
        payload_begin = len(self._records)
        for member in self._iterate_payload():
            yield self._move_to_payload(member)
        digests = {table.name: table.digest.to_text() for table in self.contents.row_tables}
        self.snapshot_hash = combine_table_digests(digests)
        snapshot = {
            **self.contents.describe_snapshot(),
            "snapshot_hash": self.snapshot_hash,
            "table_digests": digests,
            "row_counts": {table.name: table.digest.row_count for table in self.contents.row_tables},
        }
        yield self._create_text(self._payload_prefix + SNAPSHOT_MEMBER, _write_json(snapshot))
        yield self._create_text(self._payload_prefix + COMPLETENESS_MEMBER, self._write_completeness())
        crate = package_documents.write_crate_metadata(
            self.contents, self._list_payload(payload_begin), self._journal.started, self.snapshot_hash
        )
        yield self._create_text(self._payload_prefix + CRATE_MEMBER, _write_json(crate))
        yield from self._iterate_manifests(payload_begin)

    def _iterate_payload(self) -> Iterator[PackageMember]:
        for path, text in package_documents.iterate_documents(self.contents):
            yield create_text_member(path, text, self._started)
        for table in self.contents.row_tables:
            yield from table.iterate_parts(f"rows/{table.name}")
        yield from self.contents.members

    def _iterate_manifests(self, payload_begin: int) -> Iterator[PackageMember]:
        payload = [record for record in self._records[payload_begin:] if not record.absent]
        tag_records = self._records[:payload_begin]
        if self.form == BAGIT:
            byte_count = sum(record.size for record in payload)
            yield self._create_text(
                "bag-info.txt",
                package_documents.write_bag_info(
                    self.contents, self._journal.started, byte_count, len(payload), self.snapshot_hash
                ),
            )
            tag_records = [*tag_records, self._records[-1]]
        for method in CHECKSUM_METHODS:
            yield self._create_text(f"manifest-{method}.txt", _write_manifest(payload, method))
            tag_records = [*tag_records, self._records[-1]]
        if self.form == BAGIT:
            for method in CHECKSUM_METHODS:
                yield self._create_text(f"tagmanifest-{method}.txt", _write_manifest(tag_records, method))

    def _list_payload(self, payload_begin: int) -> list[MemberRecord]:
        """List what the payload has so far, with paths below its folder."""
        prefix = self._payload_prefix
        return [
            replace(record, path=record.path.removeprefix(prefix), text=None)
            for record in self._records[payload_begin:]
            if not record.absent
        ]

    def _move_to_payload(self, member: PackageMember) -> PackageMember:
        return replace(member, path=self._payload_prefix + member.path)

    def _create_text(self, path: str, text: str) -> PackageMember:
        return create_text_member(path, text, self._started)

    def _write_plan(self) -> str:
        """Write which files follow, for readers of a package that is cut off."""
        prefix = self._payload_prefix
        documents = [path for path, _ in package_documents.iterate_documents(self.contents)]
        closing_members = [SNAPSHOT_MEMBER, COMPLETENESS_MEMBER, CRATE_MEMBER]
        plan = {
            "format": 1,
            "form": self.form,
            "collection": self.contents.name,
            "started": self._journal.started,
            "files": {
                **{prefix + path: None for path in documents},
                **{prefix + member.path: member.size for member in self.contents.members},
                **{prefix + path: None for path in closing_members},
            },
            "tables": [table.name for table in self.contents.row_tables],
            "last": f"tagmanifest-{CHECKSUM_METHODS[-1]}.txt" if self.form == BAGIT else "manifest-sha512.txt",
        }
        return _write_json(plan)

    def _write_completeness(self) -> str:
        folder = f"{self._payload_prefix}files/"
        files = [record for record in self._records if record.path.startswith(folder) and not record.absent]
        report = {
            "complete": not self.lacking,
            "reader": "owner" if self.contents.is_whole else self.contents.page_context.principal.name or "public",
            "files": len(files),
            "bytes": sum(record.size for record in files),
            "rows": {table.name: table.digest.row_count for table in self.contents.row_tables},
            "lacking": [
                {"path": item.path.removeprefix(self._payload_prefix), "status": item.status, "reason": item.reason}
                for item in self.lacking
            ],
        }
        return _write_json(report)

    def _write_header(self, record: MemberRecord) -> bytes:
        info = tarfile.TarInfo(f"{self.top_folder}/{record.path}")
        info.size = record.size
        if record.modified.is_integer():
            info.mtime = int(record.modified)
        else:
            info.mtime = record.modified
        info.mode = 0o644
        return info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")

    def _iterate_member_chunks(self, member: PackageMember, start: int) -> Iterator[bytes]:
        """Yield header, content and padding of a member, and add its record to the journal."""
        record = self._journal.records.get(member.path)
        if record is not None:
            if member.row_checksum != record.row_checksum:
                raise _build_changed_error(member.path)
            if self.offset + _count_tar_bytes(self._write_header(record), record) <= start:
                return
            if record.absent:
                return
            if record.text is not None:
                member = create_text_member(member.path, record.text, record.modified)
        writer = _MemberContentReader(member)
        for chunk in writer.iterate_content():
            if writer.must_write_header:
                writer.must_write_header = False
                yield self._write_header(writer.record)
            yield chunk
        if writer.must_write_header and not writer.record.absent:
            yield self._write_header(writer.record)
        yield bytes(-writer.record.size % BLOCK_BYTES)
        if record is None:
            self._journal.add_record(writer.record)
        elif record != writer.record:
            raise _build_changed_error(member.path)


class _MemberContentReader:
    """Reads the content of a member and computes its checksums; what is missing at its end is filled with zeros."""

    def __init__(self, member: PackageMember) -> None:
        self._member = member
        self.must_write_header = True
        self.record = MemberRecord(path=member.path, size=member.size or 0, modified=member.modified)

    def iterate_content(self) -> Iterator[bytes]:
        """Yield the content; the record has the size before the first piece, and the checksums after the last."""
        member = self._member
        hashers = {method: hashlib.new(method) for method in CHECKSUM_METHODS}
        byte_count = 0
        status = reason = ""
        pieces = self._read_pieces()
        try:
            for piece in pieces:
                if not byte_count:
                    self._begin(len(piece))
                room = self.record.size - byte_count
                if len(piece) > room:
                    raise StorageUnavailableError("it has grown", remedy="create the package again")
                byte_count += len(piece)
                for hasher in hashers.values():
                    hasher.update(piece)
                yield piece
            if byte_count < self.record.size:
                raise StorageUnavailableError("it has become shorter", remedy="create the package again")
        except HvenError as error:
            if not byte_count:
                self.record = MemberRecord(path=member.path, absent=True, status=MISSING, reason=_flatten(error))
                return
            status = CHANGED
            reason = f"it was changed while it was read, and is not usable: {_flatten(error)}"
            for padding in _iterate_zeros(self.record.size - byte_count):
                for hasher in hashers.values():
                    hasher.update(padding)
                yield padding
        self.record = MemberRecord(
            path=member.path,
            size=self.record.size,
            modified=member.modified,
            sha256=hashers["sha256"].hexdigest(),
            sha512=hashers["sha512"].hexdigest(),
            status=status,
            reason=reason,
            row_checksum=member.row_checksum,
            text=member.text,
        )

    def _read_pieces(self) -> Iterator[bytes]:
        for piece in self._member.read():
            if piece:
                yield piece

    def _begin(self, first_bytes: int) -> None:
        member = self._member
        if member.note_download is not None:
            member.note_download()
        if member.size is None:
            self.record = MemberRecord(path=member.path, size=first_bytes, modified=member.modified)


def _iterate_zeros(byte_count: int) -> Iterator[bytes]:
    while byte_count > 0:
        yield bytes(min(byte_count, PADDING_BYTES))
        byte_count -= PADDING_BYTES


def _count_tar_bytes(header: bytes, record: MemberRecord) -> int:
    if record.absent:
        return 0
    return len(header) + record.size + -record.size % BLOCK_BYTES


def _flatten(error: HvenError) -> str:
    return str(error).replace("\n", " ")


def _build_changed_error(path: str) -> ConflictError:
    return ConflictError(
        f"{path} has changed since the first part of this package was written",
        remedy="delete the first part, and create the package from the beginning",
    )


def _write_manifest(records: list[MemberRecord], method: str) -> str:
    return "".join(f"{getattr(record, method)}  {record.path}\n" for record in records)


def _write_json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, default=to_json_value) + "\n"

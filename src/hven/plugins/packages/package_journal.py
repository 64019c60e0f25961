"""The journal of a package: what was written of each member, so that a package that was stopped can be continued."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.plugins.packages.package_members import MemberRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class PackageJournal:
    """A file with a line for each member that was written, after a line that identifies the package.

    Parameters
    ----------
    path
        Path of the journal; None: it is kept in memory only.
    identity
        Digest of the published state. A journal of another state is not continued.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path = path
        self._pending_lines: list[str] = []
        self.records: dict[str, MemberRecord] = {}
        self.started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.is_continued = path is not None and self._read_records(path, identity)
        if not self.is_continued:
            self.records = {}
            if path is not None:
                path.unlink(missing_ok=True)
            self._pending_lines.append(json.dumps({"package": identity, "started": self.started}))

    def _read_records(self, path: Path, identity: str) -> bool:
        """Read the records of earlier runs; return whether they are of the same published state.

        What follows a line that is not whole counts as unwritten: the records would be in another order than the bytes.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        header = _parse_line(lines[0])
        if header.get("package") != identity:
            return False
        self.started = header["started"]
        whole_lines = [lines[0]]
        for line in lines[1:-1]:  # a line without its end was cut off
            facts = _parse_line(line)
            if not facts:
                break
            self.records[facts["path"]] = MemberRecord(**facts)
            whole_lines.append(line)
        if len(whole_lines) < len(lines) - 1 or lines[-1]:
            path.write_text("\n".join([*whole_lines, ""]), encoding="utf-8")
        return True

    def add_record(self, record: MemberRecord) -> None:
        """Note that a member was written.

        Parameters
        ----------
        record
            What was written of it.
        """
        self.records[record.path] = record
        self._pending_lines.append(json.dumps(record.to_json()))

    def write_pending_lines(self) -> None:
        """Write the lines that were noted, after the bytes of their members are on the disk."""
        if self._path is not None and self._pending_lines:
            text = "".join(f"{line}\n" for line in self._pending_lines)
            file_number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(file_number, "ab") as file:  # it writes all bytes, or fails
                file.write(text.encode())
                file.flush()
                os.fsync(file_number)
        self._pending_lines.clear()


def _parse_line(line: str) -> Mapping[str, Any]:
    try:
        facts = json.loads(line)
    except ValueError:
        return {}
    if isinstance(facts, dict):
        return facts
    return {}

"""Read packages of others: nothing is unpacked before every path, size and checksum is verified.

A package is a TAR without compression, or the directory into which it was unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from hven.model.errors import SourceError, TooLargeError
from hven.plugins.packages.package_members import (
    BAGIT,
    COMPLETENESS_MEMBER,
    PLAN_MEMBER,
    RO_CRATE,
    SNAPSHOT_MEMBER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READ_BYTES = 1 << 20
MAX_MEMBERS = 2_000_000
MAX_TEXT_BYTES = 1 << 30  # of a manifest or another text that is read into memory
MAX_EXTENSION_BYTES = 1 << 16  # of a header with a long name
MAX_PATH_CHARACTERS = 4096
MAX_SHOWN_NAMES = 5
SHA256_CHARACTERS = 64
_EXTENSION_TYPES = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"X"}
_MANIFEST_LINE_PATTERN = re.compile(r"([0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})[ \t]+\*?(.+)")
_OXUM_PATTERN = re.compile(r"^Payload-Oxum:\s*(\d{1,18})\.(\d{1,18})\s*$", re.MULTILINE)
CUT_REMEDY = "copy the package again, or continue the download; nothing was unpacked"
UNSAFE_REMEDY = "ask the sender for a package with paths below its top folder; nothing was unpacked"


class StoredMember(NamedTuple):
    """A file of a package: where its bytes are.

    Attributes
    ----------
    offset
        Position in the TAR; -1: it is a file of a directory.
    size
        Size in bytes.
    modified
        Time of the last change, in seconds since 1970.
    """

    offset: int
    size: int
    modified: float


@dataclass(kw_only=True)
class PackageCheck:
    """What a package has, and what it lacks.

    Attributes
    ----------
    form
        ``bagit`` or ``ro-crate``.
    problems
        Why the package is not valid; empty: it is.
    missing
        Files that the package should have, and does not have.
    file_count, byte_count
        Files with their size.
    completeness
        The report of the site that made the package; None: it is not there.
    """

    form: str = ""
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    file_count: int = 0
    byte_count: int = 0
    completeness: Mapping[str, Any] | None = None

    @property
    def is_valid(self) -> bool:
        """Whether all files are there with their checksums."""
        return not (self.problems or self.missing)


class PackageReader:
    """A package in a file or a directory.

    Parameters
    ----------
    path
        The file or directory.

    Raises
    ------
    SourceError
        It is no package, or contains paths, links or headers that no package may have.
    TooLargeError
        It has too many files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members: dict[str, StoredMember] = {}
        self.cut_member = ""
        self.has_end = True
        self._normal_paths: dict[str, str] = {}
        if path.is_dir():
            self._list_directory()
        elif path.is_file():
            self._list_tar()
        else:
            raise SourceError(f"there is no package {path}", remedy="write the path of a .tar file or a directory")
        is_bag = "bagit.txt" in self.members
        if is_bag:
            self.form, self.payload_prefix = BAGIT, "data/"
        else:
            self.form, self.payload_prefix = RO_CRATE, ""
        if not is_bag and PLAN_MEMBER not in self.members:
            raise SourceError(
                f"{path} is not a package of Hven: it has neither bagit.txt nor {PLAN_MEMBER}",
                remedy="write the path of a .tar file that `hven package` has written, or of its unpacked top folder",
            )

    def _list_directory(self) -> None:
        for parent, directories, names in os.walk(self.path):
            directories.sort()
            for name in sorted([*directories, *names]):
                place = Path(parent) / name
                path = str(place.relative_to(self.path))
                if place.is_symlink() or not (place.is_file() or place.is_dir()):
                    raise self._build_unsafe_error(path, "is a link or a device")
                if place.is_file():
                    status = place.stat()
                    self._add_member(path, StoredMember(-1, status.st_size, status.st_mtime))

    def _list_tar(self) -> None:
        file_bytes = self.path.stat().st_size
        with self.path.open("rb") as file:
            try:
                _check_tar_start(self.path, file)
                self._check_extension_headers(file, 0, file_bytes)
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    self._list_tar_members(tar, file, file_bytes)
            except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
                if not self.members:
                    message = f"{self.path} is not a TAR file: {str(error) or type(error).__name__}"
                    remedy = "packages are .tar files without compression; unpack others first"
                    raise SourceError(message, remedy=remedy) from error
                self.has_end = False  # it is cut off in a header

    def _list_tar_members(self, tar: tarfile.TarFile, file: BinaryIO, file_bytes: int) -> None:
        top_folder = ""
        while True:
            self._check_extension_headers(file, tar.offset, file_bytes)
            file.seek(tar.offset)
            info = tar.next()
            if info is None:
                self.has_end = _has_end_marker(file, tar.offset, file_bytes)
                return
            if info.issparse() or not (info.isreg() or info.isdir()):
                raise self._build_unsafe_error(info.name, "is a link, a device or a sparse file")
            self._check_path(info.name.removesuffix("/"))
            folder, _, path = info.name.partition("/")
            top_folder = top_folder or folder
            if folder != top_folder:
                raise self._build_unsafe_error(info.name, f"is outside of the top folder {top_folder!r:.80}")
            if info.isdir():
                continue
            if info.size < 0 or info.offset_data + info.size > file_bytes:
                self.cut_member = path
                self.has_end = False
                return
            self._add_member(path, StoredMember(info.offset_data, info.size, float(info.mtime)))

    def _check_extension_headers(self, file: BinaryIO, offset: int, file_bytes: int) -> None:
        """Refuse headers with long names that would fill the memory: the library reads them whole."""
        while offset <= file_bytes:
            file.seek(offset)
            header = file.read(tarfile.BLOCKSIZE)
            if len(header) < tarfile.BLOCKSIZE or header[156:157] not in _EXTENSION_TYPES:
                return
            size = tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "surrogateescape").size
            if not 0 <= size <= MAX_EXTENSION_BYTES:
                raise self._build_unsafe_error(f"at byte {offset:,}", f"has a header of {size:,} bytes")
            offset += tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE

    def _add_member(self, path: str, member: StoredMember) -> None:
        self._check_path(path)
        normal_path = unicodedata.normalize("NFC", path)
        if normal_path in self._normal_paths:
            raise self._build_unsafe_error(path, f"occurs twice, also as {self._normal_paths[normal_path]!r:.200}")
        self._normal_paths[normal_path] = path
        self.members[path] = member
        if len(self.members) > MAX_MEMBERS:
            raise TooLargeError(
                f"{self.path} has more than {MAX_MEMBERS:,} files", remedy="ask the sender for several packages"
            )

    def _check_path(self, path: str) -> None:
        fault = find_path_fault(path)
        if fault:
            raise self._build_unsafe_error(path, fault)

    def _build_unsafe_error(self, name: str, fault: str) -> SourceError:
        return SourceError(f"{self.path}: the member {name!r:.200} {fault}", remedy=UNSAFE_REMEDY)

    def open_member(self, path: str) -> BinaryIO:
        """Open a file of the package; for a TAR, the file begins at the member.

        Parameters
        ----------
        path
            Path below the top folder.
        """
        member = self.members[path]
        if member.offset < 0:
            flags = os.O_RDONLY | os.O_NOFOLLOW
            return os.fdopen(os.open(self.path / path, flags), "rb")
        file = self.path.open("rb")
        file.seek(member.offset)
        return file

    def iterate_bytes(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file.

        Parameters
        ----------
        path
            Path below the top folder.

        Raises
        ------
        SourceError
            The package has become shorter.
        """
        remaining_bytes = self.members[path].size
        with self.open_member(path) as file:
            while remaining_bytes:
                chunk = file.read(min(READ_BYTES, remaining_bytes))
                if not chunk:
                    raise SourceError(f"{self.path}: {path} has become shorter", remedy=CUT_REMEDY)
                remaining_bytes -= len(chunk)
                yield chunk

    def read_text(self, path: str) -> str:
        """Read a text.

        Parameters
        ----------
        path
            Path below the top folder.

        Raises
        ------
        SourceError
            It is no UTF-8.
        TooLargeError
            It is too large to be read into memory.
        """
        if self.members[path].size > MAX_TEXT_BYTES:
            message = f"{self.path}: {path} has {self.members[path].size:,} bytes, more than {MAX_TEXT_BYTES:,}"
            raise TooLargeError(message, remedy="ask the sender for several packages")
        try:
            return b"".join(self.iterate_bytes(path)).decode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise SourceError(f"{self.path}: {path} is not UTF-8", remedy=UNSAFE_REMEDY) from error

    def read_json(self, path: str) -> dict[str, Any]:
        """Read a JSON object of the package.

        Parameters
        ----------
        path
            Path below the top folder.

        Raises
        ------
        SourceError
            It is missing, or is no JSON object.
        """
        try:
            document = json.loads(self.read_text(path))
        except (KeyError, ValueError, RecursionError) as error:
            message = f"{self.path}: {path} is missing or is not JSON"
            raise SourceError(message, remedy=CUT_REMEDY) from error
        if not isinstance(document, dict):
            raise SourceError(f"{self.path}: {path} is not a JSON object", remedy=UNSAFE_REMEDY)
        return document

    def verify(self) -> PackageCheck:
        """Read the whole package, and compare it with its manifests and its plan.

        Returns
        -------
        check
            What it has, and what it lacks.
        """
        check = PackageCheck(form=self.form, file_count=len(self.members))
        check.byte_count = sum(member.size for member in self.members.values())
        manifests = self._read_manifests()
        self._find_unlisted_files(check, manifests)
        if "fetch.txt" in self.members:
            check.problems.append("it has a fetch.txt: fetch these files into the bag, and remove fetch.txt")
        self._find_missing(check, manifests)
        if self.cut_member:
            check.problems.append(f"the package is cut off in {self.cut_member}")
        elif not self.has_end:
            check.problems.append("the package is cut off: its end is missing")
        self._compare_oxum(check)
        self._compare_checksums(check, manifests)
        completeness = self.payload_prefix + COMPLETENESS_MEMBER
        if completeness in self.members:
            check.completeness = self.read_json(completeness)
        return check

    def _read_manifests(self) -> dict[str, dict[str, str]]:
        """Read all manifests: name of the manifest -> path -> checksum."""
        manifests: dict[str, dict[str, str]] = {}
        for name in self.members:
            if re.fullmatch(r"(tag)?manifest-sha(256|512)\.txt", name):
                manifests[name] = self._parse_manifest(name)
        return manifests

    def _find_unlisted_files(self, check: PackageCheck, manifests: Mapping[str, Mapping[str, str]]) -> None:
        """Report data files that are in no manifest, or only in some."""
        payload_manifests = {name: lines for name, lines in manifests.items() if name.startswith("manifest-")}
        if not payload_manifests:
            check.problems.append("it has no manifest with SHA-256 or SHA-512, so its checksums are unknown")
            return
        listed_in_payload_manifests = {path for lines in payload_manifests.values() for path in lines}
        for name, lines in payload_manifests.items():
            unlisted = sorted(listed_in_payload_manifests - lines.keys())
            if unlisted:
                check.problems.append(f"{name} does not list {unlisted[0]} and {len(unlisted) - 1} more files")
        listed_paths = {path for lines in manifests.values() for path in lines}
        own_names = {*manifests, PLAN_MEMBER}  # of an RO-Crate; in a bag, they are not in the folder of the payload
        payload = [path for path in self.members if path.startswith(self.payload_prefix)]
        extra = sorted(path for path in payload if path not in listed_paths and path not in own_names)
        if extra:
            check.problems.append(f"{extra[0]} and {len(extra) - 1} more files are in no manifest")

    def read_payload_checksums(self) -> dict[str, str]:
        """Read the checksums of all files of the payload, by their paths.

        Raises
        ------
        SourceError
            There is no manifest with SHA-256 or SHA-512.
        """
        for name in ("manifest-sha256.txt", "manifest-sha512.txt"):
            if name in self.members:
                return self._parse_manifest(name)
        raise SourceError(f"{self.path} has no manifest with SHA-256 or SHA-512", remedy=CUT_REMEDY)

    def _parse_manifest(self, name: str) -> dict[str, str]:
        lines: dict[str, str] = {}
        for number, line in enumerate(self.read_text(name).split("\n"), 1):
            if not line.strip():
                continue
            match = _MANIFEST_LINE_PATTERN.fullmatch(line.rstrip("\r"))
            if match is None:
                raise SourceError(
                    f"{self.path}: {name}:{number}: {line!r:.80} is not a checksum and a path", remedy=UNSAFE_REMEDY
                )
            path = match[2].replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
            fault = find_path_fault(path)
            if fault or path in lines:
                fault = fault or "occurs twice"
                raise SourceError(f"{self.path}: {name}:{number}: {path!r:.200} {fault}", remedy=UNSAFE_REMEDY)
            lines[path] = match[1].lower()
        return lines

    def _find_missing(self, check: PackageCheck, manifests: Mapping[str, Mapping[str, str]]) -> None:
        missing = {path for lines in manifests.values() for path in lines if path not in self.members}
        if PLAN_MEMBER in self.members:
            plan = self.read_json(PLAN_MEMBER)
            # with a manifest, the report of completeness says why a planned file is not there
            if not any(name.startswith("manifest-") for name in manifests):
                missing |= {str(path) for path in plan.get("files", ()) if path not in self.members}
                for table in plan.get("tables", ()):
                    folder = f"{self.payload_prefix}rows/{table}/"
                    if not any(path.startswith(folder) for path in self.members):
                        missing.add(folder)
            last_member = str(plan.get("last", ""))
            if last_member not in self.members:
                missing.add(last_member)
        check.missing = sorted(missing)

    def _compare_oxum(self, check: PackageCheck) -> None:
        if "bag-info.txt" not in self.members:
            return
        oxum_match = _OXUM_PATTERN.search(self.read_text("bag-info.txt"))
        if oxum_match is None:
            return
        sizes = [member.size for path, member in self.members.items() if path.startswith(self.payload_prefix)]
        if (int(oxum_match[1]), int(oxum_match[2])) != (sum(sizes), len(sizes)):
            check.problems.append(
                f"bag-info.txt says {oxum_match[1]} bytes in {oxum_match[2]} files, but the payload has "
                f"{sum(sizes)} bytes in {len(sizes)} files"
            )

    def _compare_checksums(self, check: PackageCheck, manifests: Mapping[str, Mapping[str, str]]) -> None:
        wrong: list[str] = []
        for path in self.members:
            expected = {lines[path] for lines in manifests.values() if path in lines}
            if expected and not expected <= set(self._compute_checksums(path, expected)):
                wrong.append(path)
        check.problems += [f"{path} differs from its checksum" for path in wrong[:MAX_SHOWN_NAMES]]
        if len(wrong) > MAX_SHOWN_NAMES:
            check.problems.append(f"{len(wrong) - MAX_SHOWN_NAMES} more files differ from their checksums")

    def _compute_checksums(self, path: str, expected: set[str]) -> list[str]:
        hashers = [create_hasher(checksum) for checksum in expected]
        for chunk in self.iterate_bytes(path):
            for hasher in hashers:
                hasher.update(chunk)
        return [hasher.hexdigest() for hasher in hashers]

    def read_snapshot(self) -> dict[str, Any]:
        """Read what the package says of the published state.

        Raises
        ------
        SourceError
            It is missing.
        """
        return self.read_json(self.payload_prefix + SNAPSHOT_MEMBER)


def create_hasher(checksum: str) -> hashlib._Hash:
    """Create a hasher of the method of a checksum: SHA-256, or SHA-512.

    Parameters
    ----------
    checksum
        Hexadecimal checksum of a manifest.
    """
    return hashlib.new("sha256" if len(checksum) == SHA256_CHARACTERS else "sha512")


def find_path_fault(path: str) -> str:
    """Return why a path may not be in a package; empty if it may.

    Parameters
    ----------
    path
        Path below the top folder.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        return f"has a path of more than {MAX_PATH_CHARACTERS:,} characters"
    if not path or path.startswith(("/", "~")) or "\\" in path or re.match(r"[A-Za-z]:", path):
        return "is not a relative path"
    if any(ord(character) < 32 for character in path):
        return "has control characters in its path"
    if any(part in {"", ".", ".."} for part in path.split("/")) or str(PurePosixPath(path)) != path:
        return "leads out of the package"
    return ""


def _check_tar_start(path: Path, file: BinaryIO) -> None:
    start = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if start[257:262] != b"ustar":
        raise SourceError(
            f"{path} is not a TAR file", remedy="packages are .tar files without compression; unpack others first"
        )


def _has_end_marker(file: BinaryIO, offset: int, file_bytes: int) -> bool:
    """Return whether a TAR ends with two empty blocks after its last member."""
    if offset > file_bytes:
        return False
    file.seek(max(file_bytes - 2 * tarfile.BLOCKSIZE, 0))
    return file.read() == bytes(2 * tarfile.BLOCKSIZE)

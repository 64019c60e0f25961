"""Processes of the proofs: one writes a package into a file until it is killed, one hashes a stream of any size."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from hven.model.settings import load_settings
from hven.plugins.packages import package_output
from hven.plugins.packages.package_contents import collect_contents
from hven.plugins.packages.package_journal import PackageJournal
from hven.plugins.packages.package_members import PackageMember
from hven.plugins.packages.package_output import write_package
from hven.plugins.packages.package_stream import PackageStream
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL

PIECE_BYTES = 160 * 1024


def write_until_killed(directory: str) -> None:
    """Fork a process for each line of the input, a path and a number of calls after which the process kills itself.

    All calls of Python functions count, so a kill may hit any step between two of them.
    """
    package_output.SYNC_BYTES = 4096
    for line in sys.stdin:
        order = json.loads(line)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                facts = _write_package(Path(directory), Path(order["path"]), order["kill"])
            except BaseException as error:  # noqa: BLE001  (the parent reports it)
                facts = {"error": repr(error)}
            os.write(write_end, json.dumps(facts).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            text = pipe.read()
        is_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        print(json.dumps({**json.loads(text or "{}"), "killed": is_killed}), flush=True)


def _write_package(directory: Path, path: Path, kill_at: int) -> dict[str, Any]:
    call_count = 0

    def count_call(_frame: object, _event: str, _argument: object) -> None:
        nonlocal call_count
        call_count += 1
        if call_count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with Site(load_settings(directory)) as site:
        contents = collect_contents(site, "night", OWNER_PRINCIPAL)
        sys.setprofile(count_call)
        written = write_package(contents, "bagit", path)
        sys.setprofile(None)
    return {"hash": written.snapshot_hash, "continued": written.continued_bytes, "calls": call_count}


class HashedStream:
    """The chunks of a package as a file that counts and hashes what is read, and keeps nothing."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.byte_count = 0
        self.hasher = hashlib.blake2b()

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._rest:
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                self._rest = memoryview(chunk)
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            parts.append(part)
        data = b"".join(parts)
        self.byte_count += len(data)
        self.hasher.update(data)
        return data


def stream_generated_files(directory: str, total_bytes: str, file_count: str) -> None:
    """Stream a package whose products are generated; TAR and sizes are checked as any program reads them."""
    with Site(load_settings(Path(directory))) as site:
        contents = collect_contents(site, "night", OWNER_PRINCIPAL)
        files = cast("list[Any]", contents.members)
        size = int(total_bytes) // int(file_count)
        piece = os.urandom(PIECE_BYTES)

        def read() -> Iterator[bytes]:
            for offset in range(0, size, PIECE_BYTES):
                yield piece[: min(PIECE_BYTES, size - offset)]

        files += [
            PackageMember(path=f"files/generated/{number:06}.bin", size=size, modified=1e9, read=read)
            for number in range(int(file_count))
        ]
        begin_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        stream = PackageStream(contents, "bagit", PackageJournal(None, "none"))
        file = HashedStream(stream.iterate_chunks())
        member_count = 0
        with tarfile.open(fileobj=cast("BinaryIO", file), mode="r|") as tar:
            for info in tar:
                member_count += 1
                tar.members = []  # type: ignore[assignment]  # the library keeps all of them
                if "/files/generated/" in info.name:
                    assert info.size == size, info.name
        seconds = time.perf_counter() - begin
        peak_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = {
        "bytes": file.byte_count,
        "members": member_count,
        "seconds": round(seconds, 1),
        "begin_kilobytes": begin_kilobytes,
        "peak_kilobytes": peak_kilobytes,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    {"write": write_until_killed, "stream": stream_generated_files}[sys.argv[1]](*sys.argv[2:])

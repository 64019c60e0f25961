"""Keep the compiled code of page templates, so that not each process compiles them again."""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import TYPE_CHECKING

from hven import __version__

if TYPE_CHECKING:
    from typing import IO, BinaryIO

    from jinja2 import BytecodeCache, Environment

DIGEST_BYTES = hashlib.sha256().digest_size


def open_template_code_cache() -> BytecodeCache | None:
    """Open the cache of this version of Hven, below the directory for temporary files.

    Compiling a page's templates takes a tenth of a second. Each worker of a server has to show its first page, and a
    restart or a switch to a new server makes all workers new.

    Returns
    -------
    cache
        In a directory that only this user can read. None: there is no such directory.
    """
    from jinja2 import FileSystemBytecodeCache  # noqa: PLC0415  (only pages need it)
    from jinja2.bccache import Bucket  # noqa: PLC0415  (as above)

    class CheckedBucket(Bucket):
        """The code of a template; its file ends with a digest, because damaged code may crash Python."""

        def load_bytecode(self, f: BinaryIO) -> None:
            content = f.read()
            code, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
            if hashlib.sha256(code).digest() == digest:
                super().load_bytecode(io.BytesIO(code))

        def write_bytecode(self, f: IO[bytes]) -> None:
            buffer = io.BytesIO()
            super().write_bytecode(buffer)
            f.write(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())

    class TemplateCodeCache(FileSystemBytecodeCache):
        """A cache in which no fault of its files is a fault of a page."""

        def get_bucket(self, environment: Environment, name: str, filename: str | None, source: str) -> Bucket:
            """Return the code of a template; if its file cannot be read or is damaged, the template is compiled."""
            key = self.get_cache_key(name, filename)
            bucket = CheckedBucket(environment, key, self.get_source_checksum(source))
            with contextlib.suppress(OSError):
                self.load_bytecode(bucket)
            return bucket

        def dump_bytecode(self, bucket: Bucket) -> None:
            """Write the code of a template; on a full or read-only disk, the next process compiles it again."""
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)

    try:
        return TemplateCodeCache(pattern=f"hven-{__version__}-%s.cache")
    except (OSError, RuntimeError):
        return None

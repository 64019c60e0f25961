"""Keep the compiled code of page templates, so that not each process compiles them again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hven import __version__

if TYPE_CHECKING:
    from jinja2 import BytecodeCache
    from jinja2.bccache import Bucket


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

    class TemplateCodeCache(FileSystemBytecodeCache):
        """A cache in which no fault of its files is a fault of a page."""

        def load_bytecode(self, bucket: Bucket) -> None:
            """Read the code of a template; if its file cannot be read or is damaged, the template is compiled."""
            try:
                super().load_bytecode(bucket)
            except Exception:  # noqa: BLE001  (a file that was cut off can raise any error of pickle)
                bucket.reset()

        def dump_bytecode(self, bucket: Bucket) -> None:
            """Write the code of a template; on a full or read-only disk, the next process compiles it again."""
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)

    try:
        return TemplateCodeCache(pattern=f"hven-{__version__}-%s.cache")
    except (OSError, RuntimeError):
        return None

"""Remove from the Python environment of an image what a server does not use, so that the image is smaller.

The Containerfile of ``hven deploy`` runs this module. No capability of Hven needs what it removes.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNUSED_FOLDERS = ("tests", "include", "__pycache__")
SOURCE_PATTERNS = ("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "*.cpp", "*.hpp", "*.a")
UNUSED_PATTERNS = (
    # Arrow Flight, and Arrow's client of S3, because Hven has its own
    "pyarrow/*flight*",
    "pyarrow/*s3*",
    # the wheel has three copies of this library; the name with one number is the one that other libraries load
    "pyarrow/libarrow_python*.so",
    "pyarrow/libarrow_python*.so.*.*",
    # what libraries use only to test or to build themselves
    "pyarrow/_pyarrow_cpp_tests*.so",
    "numpy/_core/_simd*.so",
    "numpy/_core/*_tests*.so",
    "numpy/f2py",
    "sqlalchemy/testing",
    "hven/testing",
    "astropy/io/votable/validator/data/urls",
    # a way of reading XML that Hven does not use
    "lxml/objectify*.so",
)
# Pygments colours programs in messages. The library rich shows a program without a lexer in one colour.
KEPT_LEXERS = ("__init__.py", "_mapping.py", "data.py", "python.py", "special.py", "sql.py")
# OpenSSL in Psycopg's wheel, and the system's library that Python needs anyway
SYSTEM_LIBRARIES = {
    "psycopg_binary.libs/libcrypto-*.so.3": "libcrypto.so.3",
    "psycopg_binary.libs/libssl-*.so.3": "libssl.so.3",
}
PSYCOPG_CHECK = "import psycopg; assert psycopg.pq.__impl__ == 'binary'"
ELF_SIGNATURE = b"\x7fELF"
LOAD_SEGMENT = 1


def remove_unused_files_and_symbols(packages: Path) -> None:
    """Remove what a server does not use.

    Parameters
    ----------
    packages
        The folder ``site-packages`` of the environment.
    """
    for path in list(_list_unused_paths(packages)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it was in an unused folder
    if link_system_libraries(packages, Path("/usr/lib")):
        subprocess.run([sys.executable, "-B", "-c", PSYCOPG_CHECK], check=True)  # noqa: S603
    for path in packages.rglob("*.so*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == ELF_SIGNATURE:
            remove_symbols(path)


def link_system_libraries(packages: Path, system_libraries: Path) -> bool:
    """Replace libraries of wheels by links to those of the system, and return whether there were any.

    Parameters
    ----------
    packages
        The folder ``site-packages`` of the environment.
    system_libraries
        Directory with a folder of libraries for each architecture.
    """
    has_links = False
    for pattern, name in SYSTEM_LIBRARIES.items():
        for library in packages.glob(pattern):
            for system_library in sorted(system_libraries.glob(f"*/{name}"))[:1]:
                library.unlink()
                library.symlink_to(system_library)
                has_links = True
    return has_links


def _list_unused_paths(packages: Path) -> Iterator[Path]:
    for name in UNUSED_FOLDERS:
        # astropy imports its own folder of tests
        yield from (path for path in packages.rglob(name) if path.is_dir() and path != packages / "astropy/tests")
    for pattern in UNUSED_PATTERNS:
        yield from packages.glob(pattern)
    for pattern in SOURCE_PATTERNS:
        yield from packages.rglob(pattern)
    yield from (path for path in packages.glob("pygments/lexers/*.py") if path.name not in KEPT_LEXERS)


def remove_symbols(library: Path) -> None:
    """Remove the symbols that only debuggers use from a shared library."""
    new_file = library.with_name(f"{library.name}.new")
    subprocess.run(["strip", "--strip-unneeded", "-o", new_file, library], check=True)  # noqa: S603, S607  (binutils)
    if is_loadable(new_file):
        shutil.copymode(library, new_file)
        new_file.replace(library)
    new_file.unlink(missing_ok=True)


def is_loadable(library: Path) -> bool:
    """Return whether the system can map a shared library into memory.

    `strip` writes files that it cannot map from libraries that were changed after they were linked, such as NumPy's.
    """
    return all((offset - address) % alignment == 0 for offset, address, alignment in _list_load_segments(library))


def _list_load_segments(library: Path) -> Iterator[tuple[int, int, int]]:
    """List offset, address and alignment of the parts of a library that are mapped."""
    content = library.read_bytes()
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        kind, _, offset, address, _, _, _, alignment = struct.unpack_from("<IIQQQQQQ", content, start + number * size)
        if kind == LOAD_SEGMENT:
            yield offset, address, alignment


if __name__ == "__main__":
    for packages_folder in Path(sys.argv[1]).glob("lib/python3*/site-packages"):
        remove_unused_files_and_symbols(packages_folder)

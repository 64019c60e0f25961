"""The image leaves out files that a server does not need, and no library that still loads."""

from __future__ import annotations

import _decimal  # a compiled module
import ctypes
import shutil
import struct
from pathlib import Path

import pytest

from hven.plugins.deployment.library_trimming import (
    is_loadable,
    link_system_libraries,
    remove_symbols,
    remove_unused_files_and_symbols,
)
from requirements import require_program


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content\n")


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_files_without_a_use_are_removed(tmp_path: Path) -> None:
    kept = {
        "astropy/tests/runner.py",
        "astropy/table/table.py",
        "hven/core.py",
        "numpy/__init__.py",
        "pyarrow/libarrow_python.so.2600",
        "pygments/lexers/__init__.py",
        "pygments/lexers/python.py",
        "sqlalchemy/dialects/mysql/base.py",
    }
    removed = {
        "astropy/table/tests/test_table.py",
        "numpy/__init__.pyi",
        "numpy/_core/include/numpy/ndarray.h",
        "numpy/_core/tests/data/tests/deep.py",
        "numpy/f2py/rules.py",
        "pyarrow/_flight.cpython-311-x86_64-linux-gnu.so",
        "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.2600.0.1",
        "pygments/lexers/fortran.py",
        "sqlalchemy/testing/__init__.py",
    }
    write_files(tmp_path, *kept, *removed)
    remove_unused_files_and_symbols(tmp_path)
    assert list_files(tmp_path) == kept


def test_a_library_without_symbols_still_loads(tmp_path: Path) -> None:
    require_program("strip")
    library = tmp_path / "module.so"
    shutil.copy(_decimal.__file__, library)
    mode = library.stat().st_mode
    remove_symbols(library)
    assert library.stat().st_mode == mode
    ctypes.CDLL(str(library))
    assert list_files(tmp_path) == {"module.so"}


def test_a_library_that_the_system_could_not_map_is_found(tmp_path: Path) -> None:
    library = tmp_path / "module.so"
    shutil.copy(_decimal.__file__, library)
    assert is_loadable(library)
    content = bytearray(library.read_bytes())
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    places = [start + number * size for number in range(count)]
    place = next(place for place in places if struct.unpack_from("<I", content, place)[0] == 1)
    struct.pack_into("<Q", content, place + 8, 123)  # the offset of a part that is mapped
    library.write_bytes(content)
    assert not is_loadable(library)
    with pytest.raises(OSError, match=r"not page-aligned|invalid|cannot"):
        ctypes.CDLL(str(library))


def test_libraries_that_the_system_has_are_linked(tmp_path: Path) -> None:
    packages, system = tmp_path / "site-packages", tmp_path / "lib"
    write_files(packages, "psycopg_binary.libs/libssl-1a2b.so.3", "psycopg_binary.libs/libpq-1a2b.so.5")
    assert not link_system_libraries(packages, system), "the system does not have it"
    write_files(system, "x86_64-linux-gnu/libssl.so.3")
    assert link_system_libraries(packages, system)
    assert (packages / "psycopg_binary.libs/libssl-1a2b.so.3").readlink() == system / "x86_64-linux-gnu/libssl.so.3"
    assert not (packages / "psycopg_binary.libs/libpq-1a2b.so.5").is_symlink()

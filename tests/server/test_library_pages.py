"""The process that forks the workers keeps no pages of libraries that only its start has read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hven.app._server.library_pages import _list_unchanged_mappings

MAPPINGS = """\
1000-3000 r-xp 00000000 fe:00 12 /usr/lib/one.so
Rss:                   8 kB
Anonymous:             0 kB
3000-4000 r--p 00002000 fe:00 12 /usr/lib/one.so
Rss:                   4 kB
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 12 /usr/lib/one.so
Rss:                   4 kB
Anonymous:             0 kB
5000-6000 r--p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             0 kB
"""
RELEASE = """
import re
from pathlib import Path
import pyarrow as pa
import pyarrow.compute as pc
from hven.app._server.library_pages import release_library_pages
def measure():
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return int(resident), int(shared)
numbers = pa.array(range(1000))
before = pc.sum(numbers)
old_resident, old_shared = measure()
release_library_pages()
resident, shared = measure()
assert pc.sum(numbers) == before
print(old_shared - shared > old_shared // 2, (old_resident - old_shared) - (resident - shared) < 100)
"""


def test_only_files_that_nothing_was_written_into_are_released() -> None:
    assert _list_unchanged_mappings(MAPPINGS) == [(0x1000, 0x3000)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_a_process_goes_on_without_those_pages() -> None:
    found = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True).stdout
    assert found == "True True\n"
    assert Path("/proc/self/smaps").exists()

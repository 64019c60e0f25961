"""Processes keep no pages of libraries that only their start, or a task after a change, has read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hven.model.settings import load_settings
from hven.site import Site, _site
from hven.site.library_pages import _list_unchanged_mappings
from process_runner import wait_until

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
5000-6000 r--p 00000000 fe:00 13 /srv/site/var/snapshots/one.arrow
Rss:                   4 kB
Anonymous:             0 kB
6000-7000 r--p 00000000 fe:00 14 /usr/lib/two.so.6.1
Rss:                   4 kB
Anonymous:             0 kB
7000-8000 r--p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             0 kB
"""
RELEASE = """
import re
from pathlib import Path
import pyarrow as pa
import pyarrow.compute as pc
from hven.site.library_pages import release_library_pages
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


def test_only_libraries_that_nothing_was_written_into_are_released() -> None:
    assert _list_unchanged_mappings(MAPPINGS) == [(0x1000, 0x3000), (0x6000, 0x7000)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_a_process_goes_on_without_those_pages() -> None:
    found = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True).stdout
    assert found == "True True\n"
    assert Path("/proc/self/smaps").exists()


def test_pages_are_released_after_a_task_of_a_change_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    (tmp_path / "hven.toml").write_text("")
    monkeypatch.setattr(_site, "release_library_pages", lambda: events.append("release"))
    with Site(load_settings(tmp_path, {})) as site:
        site.add_change_task(lambda state: events.append(f"{len(state.tables_by_name)} tables"), name="count")
        site.start_published_state_refresh(is_first_process=True)
        wait_until(lambda: len(events) == 2)
    assert events == ["0 tables", "release"]

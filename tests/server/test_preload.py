"""What workers need is loaded before they are forked: what each of them loads by itself stands in memory once for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOOK = """
import sys
from pathlib import Path
from hven.app._server import processes
from hven.model import settings
from hven.site import Site
from hven.site.store import StateStore
found = settings.load_settings(Path(sys.argv[1]))
StateStore(found.var_directory, found.store).close()  # as `serve` looks whether it can be opened
processes._preload_worker_modules(found)
before = set(sys.modules)
with Site(found) as site:
    site.get_published_state()
    for name in site.engines.map_open_engines():
        site.engines.find_engine_problem(name)
print(*sorted(set(sys.modules) - before - {"encodings.ascii"}))
print(*sorted(name for name in sys.modules if "dialects.postgresql" in name))
"""


def test_a_site_is_opened_with_what_the_server_has_loaded(tmp_path: Path) -> None:
    """Nothing is left to import, and no driver of a database that is not asked."""
    (tmp_path / "hven.toml").write_text('title = "Small"\n')
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert found == "\n\n"

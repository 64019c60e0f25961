"""Every module of Hven can be imported by itself, says nothing, and starts nothing."""

from __future__ import annotations

import subprocess
import sys

WALK = """
import importlib, pathlib, threading, hven
root = pathlib.Path(hven.__file__).parent
paths = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
for name in names:
    if not name.endswith(("__main__", "_worker")):  # these are programs
        importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
assert len(names) > 900, len(names)
"""


def test_every_module_is_imported_silently() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WALK], capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""Run QGIS with the Python of Debian."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from requirements import require


def read_with_qgis(layers: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Read layers, as `qgis_reading.py` describes them."""
    require("qgis")
    script = Path(__file__).with_name("qgis_reading.py")
    # without the variables of Python's and PROJ's other installations
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        ["/usr/bin/python3", script, json.dumps(layers)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found

"""The engine hats without a cluster: the contract, what is near, what is too much, and what is on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.engines.hats import open as open_hats
from hven.testing.engine import EngineContract

if TYPE_CHECKING:
    from pathlib import Path

    from hven.engines import Engine


class TestHats(EngineContract):
    """What every engine must honour."""

    def open(self, directory: Path) -> Engine:
        return open_hats(directory, memory=1 << 30, roots=[str(directory.with_name("hats"))])

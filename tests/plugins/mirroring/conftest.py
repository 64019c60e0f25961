"""Sites that mirror others, for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from process_runner import Server, run_hven


@pytest.fixture(scope="module")
def create_mirror(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Server], tuple[Path, str]]:
    """Give a function that creates a mirror of a site and returns it with the output of the command."""

    def make(origin: Server) -> tuple[Path, str]:
        site = tmp_path_factory.mktemp("copy") / "site"
        run_hven("init", site)
        toml = site / "hven.toml"
        toml.write_text("allow_private = true\n" + toml.read_text())
        return site, run_hven("mirror", origin.url, "--site", site).stdout

    return make

"""What tests of the verbs share: sites that mirror others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from process_runner import Server, run_hven


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Server], tuple[Path, str]]:
    """Give what makes a new site, a mirror of all that another has; it gives the site and what the verb said."""

    def make(origin: Server) -> tuple[Path, str]:
        site = tmp_path_factory.mktemp("copy") / "site"
        run_hven("init", site)
        toml = site / "hven.toml"
        toml.write_text("allow_private = true\n" + toml.read_text())
        return site, run_hven("mirror", origin.url, "--site", site).stdout

    return make

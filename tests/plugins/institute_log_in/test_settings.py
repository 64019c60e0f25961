"""Sections with names in hven.toml: how each provider is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.model.errors import DescriptorError
from hven.model.settings import load_settings


def test_a_list_of_providers_says_how_to_write_them(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text('title = "x"\n[[identity]]\nname = "mars"\n')
    with pytest.raises(DescriptorError) as caught:
        load_settings(tmp_path, {})
    (fault,) = caught.value.faults
    assert str(fault) == (
        "hven.toml:2: identity: each of them needs a section with its own name: write [identity.mars], and no `name` in it"
    )

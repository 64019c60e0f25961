"""Kinds of services are recognised by their addresses."""

from __future__ import annotations

import pytest

from hven.sources import file_kinds
from plugin_needs import require_plugins


@pytest.mark.parametrize(
    ("address", "kind", "options"),
    [
        ("https://a.example/hapi/info?id=AC", "hapi", {"url": "https://a.example/hapi", "dataset": "AC"}),
        ("https://a.example/hapi", "hapi", {"url": "https://a.example/hapi"}),
        ("https://a.example/das2/server?server=dsdf&dataset=A/B", "das2", {"url": "https://a.example/das2/server", "dataset": "A/B"}),
        ("https://a.example/x/tap/sync", "tap", {"url": "https://a.example/x/tap/sync"}),
        ("https://a.example/file.csv", None, {}),
    ],
)  # fmt: skip
def test_addresses_tell_their_kind(address: str, kind: str | None, options: dict[str, str]):
    require_plugins("sources", *filter(None, [kind]))
    assert file_kinds.find_service_kind_by_url(address) == ((kind, options) if kind else None)

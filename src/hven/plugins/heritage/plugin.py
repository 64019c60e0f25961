"""What this package adds: the setting ``[[alias]]``, and old addresses of the site."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="heritage",
    title="Answer at the addresses and with the parameters of the services that a site replaces",
    settings={"alias": "hven.plugins.heritage.alias_settings:ALIAS_SECTION"},
    address_rewriter="hven.plugins.heritage.address_aliases:AddressAliasRewriter",
)

"""What this package adds: old addresses of the site (``[[alias]]``) and of tables (``endpoints``)."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="heritage",
    title="Answer at the addresses and with the parameters of the services that a site replaces",
    settings={"alias": "hven.plugins.heritage.alias_settings:ALIAS_SECTION"},
    protocols={"endpoints": "hven.plugins.heritage.endpoint_service"},
    table_keys={"endpoints": "hven.plugins.heritage.table_key:ENDPOINTS"},
    address_rewriter="hven.plugins.heritage.address_aliases:AddressAliasRewriter",
)

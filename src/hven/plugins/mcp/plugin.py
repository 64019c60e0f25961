"""What this package adds: the Model Context Protocol at ``/mcp``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="mcp",
    title="Let AI assistants search and query the site through the Model Context Protocol",
    protocols={"mcp": "hven.plugins.mcp.service"},
)

"""List and call tools with the client of the protocol's own library; print what came back as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def call_tools(url: str, mode: str) -> dict[str, Any]:
    from mcp import Client

    async with Client(url, mode=mode) as client:
        tools = await client.list_tools()
        result = await client.call_tool("query", {"adql": "SELECT x FROM s.t ORDER BY x", "limit": 2})
        fault = await client.call_tool("query", {"adql": "SELECT y FROM s.t"})
        return {
            "version": client.protocol_version,
            "tools": [tool.name for tool in tools.tools],
            "rows": result.structured_content,
            "is_error": [result.is_error, fault.is_error],
            "fault": fault.content[0].text,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call_tools(*sys.argv[1:3]))))

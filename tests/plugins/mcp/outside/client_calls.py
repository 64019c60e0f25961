"""Call tools with the client of the protocol's own library; print what came back as JSON.

Standard input has a list of [address, tool, arguments]; the argument is the mode of the client. Each answer is validated
by the models of the protocol's schema, and its content by the `outputSchema` of its tool.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def call_tools(mode: str, calls: list[Any]) -> dict[str, Any]:
    import jsonschema
    from mcp import Client

    told: dict[str, Any] = {"answers": []}
    for url in dict.fromkeys(url for url, _, _ in calls):
        async with Client(url, mode=mode) as client:
            told["version"] = client.protocol_version
            tools = (await client.list_tools()).tools
            told["tools"] = [tool.name for tool in tools]
            schemas = {tool.name: tool.output_schema for tool in tools}
            for schema in schemas.values():
                jsonschema.Draft202012Validator.check_schema(schema)
            for called_url, name, arguments in calls:
                if called_url != url:
                    continue
                result = await client.call_tool(name, arguments)
                if not result.is_error:
                    jsonschema.validate(result.structured_content, schemas[name], jsonschema.Draft202012Validator)
                told["answers"].append(
                    {"is_error": result.is_error, "text": result.content[0].text, "content": result.structured_content}
                )
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call_tools(sys.argv[1], json.load(sys.stdin)))))

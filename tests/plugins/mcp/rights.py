"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

import json


def write_call(tool: str, **arguments: object) -> str:
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


POST_BODIES = {
    "/mcp": [
        write_call("search_collections"),
        write_call("describe_table", table="obs.main"),
        write_call("sample", table="obs.main", limit=50),
        write_call("query", adql="SELECT * FROM obs.main", limit=1000),
        write_call("cone", table="obs.main", ra=60, dec=-40, radius=90, limit=1000),
        *(
            write_call("links", table="obs.main", id=f"id{word}")
            for word in ("zqcalib", "zqembargo", "zqcarl", "zqgroup", "nothing")
        ),
        write_call("cite", collection="obs"),
    ]
}
QUERY_STRINGS = {"/llms.txt": [""], "/llms/{name}.md": [""]}

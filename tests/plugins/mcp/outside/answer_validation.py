"""Validate answers by the protocol's schema of their era, as its library has it (package mcp-types); print the faults.

Standard input has a list of ``{"version": .., "method": .., "message": ..}``. Each answer must fit the models of its
era, and the JSON Schema of these models, which converts nothing. With a directory as argument, it must also fit the
published JSON Schema, ``VERSION/schema.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULT_NAMES = {
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "server/discover": "DiscoverResult",
    "tools/call": "CallToolResult",
    "tools/list": "ListToolsResult",
}


def validate_answer(answer: dict[str, Any], schema_directory: str) -> None:
    import jsonschema
    from mcp_types import jsonrpc, methods
    from pydantic import TypeAdapter

    version, method, message = answer["version"], answer["method"], answer["message"]
    if "error" in message:
        model: Any = jsonrpc.JSONRPCError
        names = ["JSONRPCErrorResponse"]
    else:
        jsonrpc.JSONRPCResponse.model_validate(message)
        methods.validate_server_result(method, version, message["result"])
        model = methods.SERVER_RESULTS[method, version]
        names = ["JSONRPCResultResponse", RESULT_NAMES[method]]
    schema = TypeAdapter(model).json_schema()
    jsonschema.validate(message.get("result", message), schema, jsonschema.Draft202012Validator)
    if schema_directory:
        document = json.loads((Path(schema_directory) / version / "schema.json").read_text(encoding="utf-8"))
        for name, part in zip(names, [message, message.get("result")], strict=False):
            named_schema = {**document, "$ref": f"#/$defs/{name}"}
            jsonschema.validate(part, named_schema, jsonschema.Draft202012Validator)


def list_faults(answers: list[dict[str, Any]], schema_directory: str) -> list[str]:
    faults = []
    for answer in answers:
        try:
            validate_answer(answer, schema_directory)
        except Exception as error:  # noqa: BLE001  (of pydantic or jsonschema: the judge's words)
            faults.append(" ".join(str(error).split())[:300])
        else:
            faults.append("")
    return faults


if __name__ == "__main__":
    print(json.dumps(list_faults(json.load(sys.stdin), "".join(sys.argv[1:]))))

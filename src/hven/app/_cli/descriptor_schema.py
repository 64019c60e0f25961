"""``hven schema``: print the JSON Schema of descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hven import descriptor
from hven.app._cli.context import print_json


def schema(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help=("Write to this file instead of standard output.")),
    ] = None,
) -> None:
    """Print the JSON Schema of descriptors, for editors."""
    if output is None:
        print_json(descriptor.build_descriptor_json_schema())
    else:
        import orjson  # noqa: PLC0415  (needed only for this output)

        schema_text = orjson.dumps(descriptor.build_descriptor_json_schema(), option=orjson.OPT_INDENT_2)
        output.write_bytes(schema_text + b"\n")

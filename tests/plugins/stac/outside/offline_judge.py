"""Run a validator of STAC on a machine without a network.

usage: offline_judge.py FOLDERS MODULE ARGUMENT ...      FOLDERS: separated by `:`

The validator's requests for schemas are answered from the folders: those of the wheel of pystac, and those of
extensions, NAME/VERSION/schema.json. An extension without a file, and PROJJSON, allow any object. Requests to this
machine are sent.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

# properties in the filters of stac-api-validator -> those of tables of EPN-TAP
PROPERTIES = {"eo:cloud_cover": "epn:incidence_min", "mission": "epn:instrument_name"}


def find_schema(url: str, folders: list[Path]) -> bytes:
    """Find the copy of a schema."""
    parts = urlsplit(url)
    names = parts.path.strip("/").split("/")
    candidates = {
        "schemas.stacspec.org": ("stac-spec", names[0], names[-1]),  # v1.1.0/item-spec/json-schema/item.json
        "geojson.org": ("geojson", names[-1]),
    }
    for folder in folders:
        path = folder.joinpath(*candidates.get(str(parts.hostname), names))
        if path.is_file():
            return path.read_bytes()
    if parts.hostname in {"stac-extensions.github.io", "proj.org"}:
        kind = {"type": "object"} if parts.hostname == "proj.org" else {}
        return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **kind}).encode()
    raise requests.ConnectionError(f"there is no copy of {url}")


class SchemaAdapter(requests.adapters.BaseAdapter):
    """Answer requests from folders."""

    def __init__(self, folders: list[Path]) -> None:
        super().__init__()
        self.folders = folders

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        response = requests.Response()
        response.request, response.url, response.status_code = request, str(request.url), 200
        response.raw = io.BytesIO(find_schema(response.url, self.folders))
        response.headers["content-type"] = "application/json"
        return response

    def close(self) -> None:
        pass


def replace_filter_properties() -> None:
    """Let the filters of stac-api-validator use properties that items have."""
    if importlib.util.find_spec("stac_api_validator") is None:
        return
    filters = importlib.import_module("stac_api_validator.filters")
    for name, value in vars(filters).items():
        if not name.startswith("_") and isinstance(value, str | list | dict):
            text = json.dumps(value)
            for old, new in PROPERTIES.items():
                text = text.replace(old, new)
            setattr(filters, name, json.loads(text))


def main() -> None:
    adapter = SchemaAdapter([Path(text) for text in sys.argv[1].split(":")])
    get_adapter = requests.Session.get_adapter

    def choose_adapter(session: requests.Session, url: str) -> Any:
        return get_adapter(session, url) if urlsplit(url).hostname == "127.0.0.1" else adapter

    requests.Session.get_adapter = choose_adapter  # type: ignore[method-assign, assignment]
    sys.argv = sys.argv[2:]
    replace_filter_properties()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Recognise custom grammars that read Elasticsearch, and the queries that grammars of databases compute."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from hven.model.errors import SourceError
from hven.plugins.migration.resource_xml import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

QUERY_KEYS = {"query_url", "query_data"}  # of a file beside the script that queries an index
_ROOT_KEYS = ("_source", "_id")


def read_elastic_index_address(path: Path) -> tuple[str, str] | None:
    """Read the address of a server and the name of its index from a query file; None: it is another file.

    Parameters
    ----------
    path
        Path of the file.
    """
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        value = json.loads(read_document(path, path.name))
    except (ValueError, RecursionError, SourceError):
        return None
    address = value.get("query_url") if isinstance(value, dict) and value.keys() == QUERY_KEYS else None
    if not isinstance(address, str):
        return None
    parts = urlsplit(address)
    segments = [unquote(segment) for segment in parts.path.split("/") if segment and segment != "_search"]
    if not parts.scheme.startswith("http") or not segments:
        return None
    folder = "".join(f"/{segment}" for segment in segments[:-1])
    host = parts.netloc.rpartition("@")[2]  # a password belongs to the secrets
    return f"{parts.scheme}://{host}{folder}", segments[-1]


def _parse_code_leniently(code: str) -> ast.Module:
    """Parse code; code that is not Python 3 becomes an empty module."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as \schema in texts
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def find_document_fields(code: str) -> tuple[dict[str, str], list[str]]:
    """Find the fields of documents that a script yields.

    Parameters
    ----------
    code
        The script, which is parsed and never run.

    Returns
    -------
    fields, computed_names
        Dotted names of fields by the names that the script gives them; and names whose values it computes.
    """
    tree = _parse_code_leniently(code)
    paths: dict[str, str] = {}
    fields: dict[str, str] = {}
    computed_names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            path = _find_path(node.value, paths)
            if path:
                paths[node.targets[0].id] = path
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pairs = [(node.targets[0].slice, node.value)]
        for key, value in pairs:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                path = _find_path(value, paths)
                if path:
                    fields[key.value] = path
                elif any(isinstance(part, ast.Name) and part.id in paths for part in ast.walk(value)):
                    computed_names.append(key.value)
    return fields, computed_names


def _find_path(node: ast.expr, paths: Mapping[str, str]) -> str:
    """Find the dotted name of a field that an expression returns unchanged; empty: none."""
    keys: list[str] = []
    while not isinstance(node, ast.Name):
        key: Any = None
        if isinstance(node, ast.Subscript):
            key, node = node.slice, node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            key, node = node.args[0], node.func.value
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return ""
        keys.insert(0, key.value)
    if node.id in paths:
        return ".".join([paths[node.id], *keys])
    return ".".join(keys) if keys and keys[0] in _ROOT_KEYS else ""


def find_query_text(code: str) -> str:
    """Find the query of a remote table in code that computes it, without what limits its rows; empty: none."""
    tree = _parse_code_leniently(code)
    texts: list[str] = []
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
        text = " ".join(text.replace("{}", "").split())
        if re.match(r"SELECT\b.*\bFROM\b", text, re.IGNORECASE) and "\\schema" not in text:
            texts.append(re.sub(r"\s+WHERE$", "", text, flags=re.IGNORECASE))
    return max(texts, key=len, default="")

"""How XML of others is parsed: without entities, network or document types."""

from __future__ import annotations

from typing import Any

SAFE_PARSER_OPTIONS: dict[str, Any] = {  # of `lxml.etree.XMLParser` and `iterparse`
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


def find_local_name(tag: str) -> str:
    """Return the name of an element or attribute without its namespace, or a prefix that is never declared.

    lxml keeps an undeclared prefix in the tag, and its ``QName`` refuses such a tag.

    Parameters
    ----------
    tag
        Tag as lxml writes it: ``{namespace}name``, ``name``, or ``prefix:name``.
    """
    return tag.rpartition("}")[2].rpartition(":")[2]


__all__ = ["SAFE_PARSER_OPTIONS", "find_local_name"]

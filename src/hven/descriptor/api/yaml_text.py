"""Write values of descriptors as YAML."""

from __future__ import annotations

from hven.descriptor._yaml_text import (
    format_yaml_comment,
    format_yaml_flow_value,
    format_yaml_folded_text,
    format_yaml_scalar,
)

__all__ = [
    "format_yaml_comment",
    "format_yaml_flow_value",
    "format_yaml_folded_text",
    "format_yaml_scalar",
]

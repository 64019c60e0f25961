"""The file a curator writes -> a Resource, all mistakes at once with file:line:column."""

from hven.descriptor.reading import check, load, load_standard
from hven.descriptor.schema import schema

__all__ = ["check", "load", "load_standard", "schema"]

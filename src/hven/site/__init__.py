"""The state of a site: settings, accounts, the state store, the engines, and what is published.

TAP_SCHEMA is built from what is published.
"""

from __future__ import annotations

from hven.site._anonymization import anonymize_for_referee
from hven.site._bound_policies import AccessPolicyBinder
from hven.site._catalogue import Catalogue
from hven.site._delegations import grant_delegation_and_list_doubts
from hven.site._engine_registry import EMBEDDED_ENGINE, HINDERED_MESSAGE, EngineRegistry
from hven.site._example_queries import list_example_queries
from hven.site._metadata_overlay import find_inherited_attributes
from hven.site._obscore_views import UnionView
from hven.site._people_tables import find_groups_and_aliases
from hven.site._persistent_identifiers import PersistentIdentifiers
from hven.site._published_state import USER_SCHEMA, PublishedState, PublishedTable
from hven.site._request_observers import RequestObserver, RequestObserverGroup, reserve_request_observer_memory
from hven.site._request_usage import CURRENT_USAGE, AnsweredRequest, RequestUsage, record_sent_data
from hven.site._site import Site
from hven.site._state_builder import build_published_state
from hven.site._tap_schema import TAP_SCHEMA_NAME as TAP_SCHEMA

__all__ = [
    "CURRENT_USAGE",
    "EMBEDDED_ENGINE",
    "HINDERED_MESSAGE",
    "TAP_SCHEMA",
    "USER_SCHEMA",
    "AccessPolicyBinder",
    "AnsweredRequest",
    "Catalogue",
    "EngineRegistry",
    "PersistentIdentifiers",
    "PublishedState",
    "PublishedTable",
    "RequestObserver",
    "RequestObserverGroup",
    "RequestUsage",
    "Site",
    "UnionView",
    "anonymize_for_referee",
    "build_published_state",
    "find_groups_and_aliases",
    "find_inherited_attributes",
    "grant_delegation_and_list_doubts",
    "list_example_queries",
    "record_sent_data",
    "reserve_request_observer_memory",
]

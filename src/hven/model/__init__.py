"""The nouns: types, tables, units, parameters, places on the sky; errors, settings and plug-ins. No I/O."""

from hven.model._cache import Cache, Keeping, cached
from hven.model._deviations import Deviation, DeviationKind, add_deviation, duplicate_name_deviation
from hven.model._failures import Failure, Failures
from hven.model._pandas_imports import hide_pandas, is_installed, show_pandas
from hven.model._web_addresses import join_address, split_address, split_address_or_none

__all__ = [
    "Cache",
    "Deviation",
    "DeviationKind",
    "Failure",
    "Failures",
    "Keeping",
    "add_deviation",
    "cached",
    "duplicate_name_deviation",
    "hide_pandas",
    "is_installed",
    "join_address",
    "show_pandas",
    "split_address",
    "split_address_or_none",
]

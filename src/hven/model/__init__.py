"""Data types without I/O: tables, types, units, parameters, sky geometry, errors, settings and plug-ins."""

from hven.model._cache import Cache, SingletonRegistry, cache_results
from hven.model._deviations import Deviation, DeviationKind, add_deviation, build_duplicate_name_deviation
from hven.model._failures import Failure, FailureLog
from hven.model._pandas_imports import is_installed, refuse_pandas_imports, show_pandas
from hven.model._web_addresses import join_address, split_address, split_address_or_none

__all__ = [
    "Cache",
    "Deviation",
    "DeviationKind",
    "Failure",
    "FailureLog",
    "SingletonRegistry",
    "add_deviation",
    "build_duplicate_name_deviation",
    "cache_results",
    "is_installed",
    "join_address",
    "refuse_pandas_imports",
    "show_pandas",
    "split_address",
    "split_address_or_none",
]

"""Data types without I/O: tables, types, units, parameters, sky geometry, errors, settings and plug-ins."""

from hven.model._cache import LruCache, SingletonRegistry, cache_results
from hven.model._deviations import DeviationKind, ReadDeviation, add_deviation, build_duplicate_name_deviation
from hven.model._failures import FailureRecord, RetryBackoffLog
from hven.model._pandas_imports import is_module_installed, refuse_pandas_imports, restore_pandas_imports
from hven.model._web_addresses import resolve_relative_address, split_address, split_address_or_empty

__all__ = [
    "DeviationKind",
    "FailureRecord",
    "LruCache",
    "ReadDeviation",
    "RetryBackoffLog",
    "SingletonRegistry",
    "add_deviation",
    "build_duplicate_name_deviation",
    "cache_results",
    "is_module_installed",
    "refuse_pandas_imports",
    "resolve_relative_address",
    "restore_pandas_imports",
    "split_address",
    "split_address_or_empty",
]

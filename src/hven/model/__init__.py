"""The nouns: types, tables, units, parameters, places on the sky; errors, settings and plug-ins. No I/O."""

from hven.model._cache import Cache, Keeping, cached
from hven.model._deviations import Deviation, DeviationKind, add_deviation, duplicate_name_deviation

__all__ = ["Cache", "Deviation", "DeviationKind", "Keeping", "add_deviation", "cached", "duplicate_name_deviation"]

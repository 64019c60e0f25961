"""The nouns: types, tables, units, parameters, places on the sky; errors, settings and plug-ins. No I/O."""

from hven.model._cache import Cache, Keeping, cached

__all__ = ["Cache", "Keeping", "cached"]

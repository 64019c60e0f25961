"""Functions over columns that packages add to engines, for functions of queries and descriptors."""

from __future__ import annotations

from hven.engines._engine_functions import EngineFunction, EngineFunctions, to_numpy, to_single_array

__all__ = [
    "EngineFunction",
    "EngineFunctions",
    "to_numpy",
    "to_single_array",
]

"""Coverage of published tables in space, time and wavelength, as records of registries have it."""

from __future__ import annotations

from hven.services._coverage import find_sample_sky_circle, write_coverage_xml

__all__ = ["find_sample_sky_circle", "write_coverage_xml"]

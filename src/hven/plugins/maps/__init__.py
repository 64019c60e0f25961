"""Serve rasters of planets as maps and coverages: WMS, WMTS and WCS in the frames of the bodies."""

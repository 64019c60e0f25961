"""Pictures of time series: tiles of time bins for the pages at ``/series/``."""

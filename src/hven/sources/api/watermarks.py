"""Sources that a sync reads from the last watermark on."""

from __future__ import annotations

from hven.sources._reading.watermarks import Watermark, WatermarkSource, parse_watermark

__all__ = [
    "Watermark",
    "WatermarkSource",
    "parse_watermark",
]

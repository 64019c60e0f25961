"""STAC, OGC API Features and WFS over tables of EPN-TAP and ObsCore."""

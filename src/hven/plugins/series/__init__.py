"""Samples in time: HAPI, das2 and TFCat, as services and as sources, and their pages."""

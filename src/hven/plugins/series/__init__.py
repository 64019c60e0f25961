"""Samples in time: HAPI and das2, as services and as sources, and their pages."""

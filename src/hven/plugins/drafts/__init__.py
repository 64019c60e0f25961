"""Draft descriptors of sources, and try files in a page."""

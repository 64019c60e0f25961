"""Packages: collections as BagIt bags or RO-Crates, and what the next operator of a site must know."""

"""Packages: collections as BagIt bags or RO-Crates."""

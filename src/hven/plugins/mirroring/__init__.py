"""Copies of collections of other Hven sites, and the descriptors from which others copy those of this one."""

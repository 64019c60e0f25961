"""Draft descriptors from those of other publishing programs."""

"""Search the whole site by words."""

"""Quantities: values with their errors, bounds, origins and confidence."""

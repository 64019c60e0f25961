"""Registry records, their harvesting, and DOIs: see README.md."""

"""Registry records of what a site publishes, and their harvesting."""

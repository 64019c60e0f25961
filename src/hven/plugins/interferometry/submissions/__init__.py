"""What this package adds to the package ``submissions``."""

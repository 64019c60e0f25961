"""What this package adds to `hven lint`."""

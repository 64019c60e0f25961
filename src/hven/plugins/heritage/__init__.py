"""Old addresses and old queries of a site and of its tables: see README.md."""

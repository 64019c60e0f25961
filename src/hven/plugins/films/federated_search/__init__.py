"""What this package adds to the pages of remote tables: films of the pictures of their rows."""

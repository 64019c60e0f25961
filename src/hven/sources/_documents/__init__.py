"""Documents that belong to rows: what they say, where they are kept, how they are fetched."""

"""Living citations: say whether the answer of a cited query has changed."""

"""How often collections are used: counts of requests and downloads, and reports about them."""

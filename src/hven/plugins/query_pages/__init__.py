"""Let readers write queries in the portal, and follow their jobs."""

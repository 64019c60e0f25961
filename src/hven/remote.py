"""The only outward HTTP client: SSRF guard, rate ceiling, size limit, secrets, retry. Grows with *Sync*."""

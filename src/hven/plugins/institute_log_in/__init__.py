"""Log-in with accounts of institutes, by OpenID Connect."""

"""Request limits: how much of a site one user, or one kind of users, may use."""

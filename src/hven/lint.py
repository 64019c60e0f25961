"""The validator of any service, over its public faces. Built in *Lint*."""

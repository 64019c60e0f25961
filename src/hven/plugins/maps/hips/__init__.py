"""What `hven hips` can build: HiPS of layers."""

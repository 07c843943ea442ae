"""Search algorithms over architectures, and one search from start to end."""

"""Training of searched architectures."""

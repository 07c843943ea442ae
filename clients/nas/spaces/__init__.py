"""Search spaces of neural architectures."""

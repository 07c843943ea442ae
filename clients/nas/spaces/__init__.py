"""Search spaces of neural architectures and their notations."""

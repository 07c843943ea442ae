"""Architecture searches beside random search."""

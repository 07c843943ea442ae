"""f-Hyperband beside Hyperband, replayed."""

"""Training of the networks that a search proposes."""

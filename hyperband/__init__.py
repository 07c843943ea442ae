"""hyperband: the scheduler. Hyperband that stops hopeless configurations inside each rung; imports only srm and proto."""

"""hyperband: Hyperband that also stops hopeless configurations inside each rung (f-Hyperband); uses only srm and proto."""

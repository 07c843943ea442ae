"""The default predictor: stacked kernel models, one for each of a dozen observed lengths. Derivation: docs/stacked.md."""

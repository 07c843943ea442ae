"""The default predictor: stacked kernel models, one for each observed length."""

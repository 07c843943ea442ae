"""clients.backtest: what stopping would have saved and lost on learning curves that there are already."""

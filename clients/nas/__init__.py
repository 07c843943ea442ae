"""Architecture searches that ask a study when to stop: MetaQNN, BlockQNN and LSTM controllers."""

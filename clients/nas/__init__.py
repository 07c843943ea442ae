"""Architecture searches that ask a study when to stop a training: MetaQNN, BlockQNN and LSTM controllers."""

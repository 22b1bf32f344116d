"""Files of weights from elsewhere -> what a predictor is built from. Every byte is a stranger's."""

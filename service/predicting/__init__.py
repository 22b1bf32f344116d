"""One way to predict, whoever serves: the request's body -> rows, and what the network gave -> the answer's body."""

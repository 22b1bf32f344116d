"""What can be asked of a trained network. May import networks, data, records, backprop and specs; knows no HTTP."""

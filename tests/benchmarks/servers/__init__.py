"""What a user might serve the same network with: each file run as a program, with its port as the only argument.

They answer `POST /predict {"rows": [[...]]}` (MLflow: `/invocations {"inputs": [[...]]}`) with the class probabilities
of a 30-64-64-2 network, computed in NumPy.
"""

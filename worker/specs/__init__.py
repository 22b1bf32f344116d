"""The one vocabulary: frozen models of network, dataset, training and job, with every default.

Each field carries its limits and a sentence. The OpenAPI page and the validator are made from the same models.
May import errors only.
"""

"""Specifications: what a client may ask for, in its own words, with every limit and default. All models are frozen.

Each field has its limits and a sentence. The validator and the OpenAPI document are made from the same models. May
import errors only.
"""

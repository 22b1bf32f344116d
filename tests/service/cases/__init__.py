"""What the cases of the OpenAPI document need: real objects, requests that fit them, and a list of allowed refusals."""

"""The Open Inference Protocol: its routes, schemas and errors. It may import `service.predict`."""

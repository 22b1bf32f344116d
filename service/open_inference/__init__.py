"""The Open Inference Protocol: its routes, its documents and its errors. It may import `service.predict`."""

"""MLflow's scoring protocol: its routes, its documents and its errors. It may import `service.predict`."""

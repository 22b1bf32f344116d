"""MLflow's scoring protocol: its routes, schemas and errors. It may import `service.predict`."""

"""server: the service. Stores curves, fits models in the background, answers over gRPC; imports only srm and proto."""

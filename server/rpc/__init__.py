"""The gRPC server: transport, authentication, admission control."""

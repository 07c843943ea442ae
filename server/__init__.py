"""server: studies behind gRPC, durable in SQLite or PostgreSQL: `rpc` takes calls, `studies` answers, `storage` keeps them."""

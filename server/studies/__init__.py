"""Studies on a server: durable, fitted in the background."""

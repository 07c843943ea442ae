"""clients: what runs in the user's process: one framework a file; imports only srm and proto."""

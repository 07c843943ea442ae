"""`curvestop dashboard`: a read-only web page about a server's studies. It is itself a client of the service."""

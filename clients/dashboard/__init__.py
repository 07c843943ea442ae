"""`curvestop dashboard`: a read-only web page on a server's studies, itself a client of the service."""

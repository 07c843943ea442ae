"""A study on a server, used like one in process."""

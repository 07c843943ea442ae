"""The remote study: the interface of `curvestop.srm.Study`, answered by a server."""

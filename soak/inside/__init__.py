"""What runs in the processes of the server that is soaked, besides the server."""

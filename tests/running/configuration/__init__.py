"""The checks of what settings and the command line amount to."""

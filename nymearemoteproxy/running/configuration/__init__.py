"""What the server is to do, worked out from the settings and the command line.

Everything that can be wrong is found here, before anything listens. It must not know how the parts
work that are made of it.
"""

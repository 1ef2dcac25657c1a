"""What can be set: each setting's declaration, and the values from the file and the command line.

It must not know what the values mean for the server.
"""

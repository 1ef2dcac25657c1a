"""What can be set: each setting's declaration, and the values from the file and the command line.

What the values mean for the server is not known here.
"""

"""Several processes that serve together: the parent listens, its workers serve.

It must not know settings, nor how a connection is served. Nothing of this is imported where one
process serves alone.
"""

"""Several processes that are one meeting place: who waits where, and links between them.

A *member* is one process that clients connect to. It must not know settings, listeners for clients,
processes, or who watches; which directory there is, and how a link is made, it is given.
"""

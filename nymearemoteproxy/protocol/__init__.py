"""The rules: what the protocol is, message by message and byte by byte.

Bytes or events go in; bytes, frames or effects come out. Everything here can be tested by plain
calls. It must not know Twisted, sockets, clocks, files, or who else is connected.
"""

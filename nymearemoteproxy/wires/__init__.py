"""Bytes: the life of one connection on its transport, from the first byte to the last.

Everything that touches a transport is here, WebSocket or stream, TLS or not. It must not know
settings, listeners, or who watches.
"""

"""What a client says to a proxy, what the answers mean, and how addresses are written.

Everything here can be tested by plain calls. It must not know Twisted, sockets, clocks, SLIP or
WebSocket.
"""

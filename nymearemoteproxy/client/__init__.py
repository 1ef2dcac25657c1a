"""The client end of nymea-remoteproxy: one side of a tunnel, for any Twisted protocol.

``nymearemoteproxy.client.endpoint`` has Twisted client endpoints whose connections are tunnels;
``nymearemoteproxy.client.cli`` puts standard input and output or a local service at the end of one.
Nothing in this package knows the server's code: it holds to the wire contract only, and shares with
the server how that is spelled, ``slip``, ``jsonobjects`` and ``jsonrpc``.
"""

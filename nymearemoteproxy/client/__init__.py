"""The client end of nymea-remoteproxy: one side of a tunnel, for any Twisted protocol.

``nymearemoteproxy.client.endpoint.TunnelEndpoint`` is a Twisted client endpoint whose connections
are tunnels; ``nymearemoteproxy.client.cli`` puts standard input and output at the end of one.
Nothing in this package knows the server's code: it holds to the wire contract only.
"""

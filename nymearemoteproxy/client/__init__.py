"""The client end of nymea-remoteproxy: one side of a tunnel, for any Twisted protocol.

`endpoints` has Twisted client endpoints whose connections are tunnels, `endpointstrings` how they
are written as strings; `cli` is the command ``nymea-remoteproxy-client``, and `options` its command
line. Below them are the rooms `local`, `connecting` and `rules`.

It must not know the server's code: it holds to the wire contract only, and shares with the server
how that is spelled, `packets`, `slip`, `lengthprefixed`, `jsonobjects`, `jsonrpc` and `hostnames`.
"""

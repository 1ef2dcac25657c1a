"""Who may in: the backends that judge a token.

`backend` is their interface, `tokens` knows some beforehand, `http` asks a server, which `url` and
`verification` say how to reach and to trust. `jwtbackend` judges by a signature: `webtokens` says
what a token must be, `keysets` by which keys, and `remotekeys` fetches those. It must not know
clients, sessions or time limits.
"""

"""A long load with faults: what the server promises, watched for as long as anybody likes.

``python -m soak --help``; docs/development.rst has more.

`plan` says what the load does, `wires` are its connections, and `tunnels`, `visits` and `strangers`
play the scenarios. `servers` are what is tried, `disturbances` what happens to them meanwhile, and
`ledger` has the promises. Nothing here is needed by the server.
"""

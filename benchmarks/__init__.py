"""Measures what a tunnel costs this server and others: ``make benchmark``.

Nothing in `nymearemoteproxy` knows of this package, and it imports little from there, SLIP above
all: the server is started as a process of its own, and spoken to like any other.

From the bottom up: `names`, `lab` (processes, what the kernel counts), `wires` (connections),
`meetings` (how a tunnel is made; `syncthing` has the words of one of them), `traffic` (messages,
and the check of what arrives), `peers` (the servers; `stock` and `snitunpeer` are two), `tunnels`.
Then the workloads, `steady`, `connections`, `pressure`, `tunnelproxy`, `visits` and `watching`,
with the processes that help them, `holder`, `crowd` and `flood` (`helper`); `bench` runs them,
`__main__` chooses. What comes out is in `results`; `targets`, `tables`, `report`, `plot` and
`machine` are about showing it. `pythons`, `cluster` and others measure other things in this way.
"""

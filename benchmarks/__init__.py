"""Measures what a tunnel costs this server and others: ``make benchmark``.

Nothing in `nymearemoteproxy` knows of this package, and it imports nothing from there: the server
is started as a process of its own, and spoken to like any other.

From the bottom up: `names`, `lab` (processes, what the kernel counts), `wires` (connections),
`meetings` (how a tunnel is made), `traffic` (messages, and the check of what arrives), `peers`
(the servers; `stock` is one), `tunnels`. Then the workloads, `steady`, `connections` and
`pressure`, with the processes that help them, `holder`, `crowd` and `flood` (`helper`); `bench`
runs them, `__main__` chooses. What comes out is in `results`; `targets`, `report`, `plot` and
`machine` are about showing it.
"""

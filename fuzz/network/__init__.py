"""The network fuzzer: mutates whole conversations with a real server process, at all its listeners.

Everything of a conversation follows from a seed and an index, but for what TLS draws itself and for
the order in which the machine lets several of them go on.
"""

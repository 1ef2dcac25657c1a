"""What all connections share: who is let in, what is known and counted of each, how each ends.

It must not know transports or framing.
"""

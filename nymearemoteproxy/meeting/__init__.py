"""Who waits for whom, and what two joined sides are to each other.

It answers through Deferreds, so that several processes can share one meeting place. It must not
know transports, framing, or how a client got here.
"""

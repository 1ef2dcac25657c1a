"""The tunnel proxy: registered servers, and the many clients that reach each by its uuid.

Every server and every client has an ordinary tunnel whose far end is here. It must not know
transports, or the framing of any but registered servers.
"""

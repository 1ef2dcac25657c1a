"""What everybody may use: logs, text files, addresses, times, delays, the line for long work.

It must not know the protocol, nor anything else of what the server is for.
"""

"""What is on this machine at the end of a tunnel: standard input and output, a port, a service.

It must not know how the proxy is reached.
"""

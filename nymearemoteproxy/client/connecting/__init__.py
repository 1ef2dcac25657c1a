"""The way to a proxy: one attempt or many, whatever the framing, up to the end of the tunnel.

It must not know what is done with a tunnel, nor what the proxy's messages mean.
"""

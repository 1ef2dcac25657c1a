"""Places to listen on: endpoint descriptions, certificates, sockets that systemd made.

It must not know what is spoken on a connection.
"""

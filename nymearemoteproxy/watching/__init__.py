"""What tells others what goes on: monitor socket, metrics, health, status page.

Nothing here is on the way of a byte, and without anybody who watches nothing runs. It must not know
settings, or how the server was started.
"""

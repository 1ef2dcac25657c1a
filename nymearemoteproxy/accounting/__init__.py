"""What is written down of the past: ended tunnels, statistics, totals that survive a restart.

It must not know how connections are served, nor wait for a disk.
"""

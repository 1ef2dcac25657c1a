"""What an operator sees of a running server over HTTP: metrics, health checks, a status page.

Nothing here is imported unless the admin endpoint is switched on. `routes.Admin` is all of it.
"""

"""What an operator sees of a running server over HTTP: metrics, health checks, a status page.

Nothing here is imported unless the endpoint is switched on. `routes.AdminEndpoint` is all of it. It
must not know settings, or how the server was started.
"""

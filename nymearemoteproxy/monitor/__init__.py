"""What shows a running nymea-remoteproxy: the command ``nymea-remoteproxy-monitor``.

``reading`` is what the server said, ``model`` what follows from several readings, ``text`` how a
value is spelled, ``columns`` what the tables have, ``page`` and ``view`` what is shown of them;
``connection`` is the way to the server, ``terminal`` the way to the screen, ``cli`` the command.
Nothing in this package knows the server's code: it holds to what comes out of the monitor socket,
and shares with the server only where a JSON object ends.
"""

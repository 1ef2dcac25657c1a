"""What shows a running nymea-remoteproxy: the command ``nymea-remoteproxy-monitor``.

`sample` is what the server said, `model` what follows from several samples, `text` how a
value is spelled, `columns` what the tables have, `page` and `view` what is shown of them;
`polling` is the way to the server, `terminal` the way to the screen, `cli` the command and
`options` its command line. It must not know the server's code: it holds to what comes out of the
monitor socket, and shares with the server only where a JSON object ends.
"""

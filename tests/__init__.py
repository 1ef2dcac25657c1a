"""The tests of nymea-remoteproxy."""

import signal

# A shell without job control, as in a script, starts what runs in the background with SIGINT
# ignored, and the programs that are tested would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""The tests of nymea-remoteproxy."""

import signal

from hypothesis import settings

# How long an example takes says nothing where something else runs, too; nothing is left behind.
settings.register_profile("everywhere", deadline=None, database=None)
settings.load_profile("everywhere")

# A shell without job control, as in a script, starts what runs in the background with SIGINT
# ignored, and the programs that are tested would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

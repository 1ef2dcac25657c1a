"""The tests of nymea-remoteproxy."""

import os
import signal

from hypothesis import settings

# How long an example takes says nothing where something else runs, too; nothing is left behind.
# Brief: a second run of the suite on the same machine, see debian/rules.
settings.register_profile(
    "everywhere",
    deadline=None,
    database=None,
    max_examples=20 if os.environ.get("NYMEA_BRIEF") else 100,
)
settings.load_profile("everywhere")

# A shell without job control, as in a script, starts what runs in the background with SIGINT
# ignored, nohup whatever it starts with SIGHUP; the programs that are tested would inherit that.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

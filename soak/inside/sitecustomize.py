"""What every process of a server that is soaked begins with, as `PYTHONPATH` has this folder.

Owns the moment. Knows nothing of what is done then.
"""

from soak.inside import census, planted

census.install()
planted.install()

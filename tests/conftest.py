"""How Hypothesis runs here, and Ctrl-C; fixtures live beside the tests that use them."""

import os
import signal

from hypothesis import settings

# Derandomised: a red run means that the tree changed, on every machine. `HYPOTHESIS_PROFILE=explore` looks further.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell starts what runs in its background with SIGINT ignored, Python leaves it so, and every process that a test
# starts inherits it: tests that interrupt one would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

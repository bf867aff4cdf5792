"""How Hypothesis runs here; fixtures live beside the tests that use them."""

import os

from hypothesis import settings

# Derandomised: a red run means that the tree changed, on every machine. `HYPOTHESIS_PROFILE=explore` looks further.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

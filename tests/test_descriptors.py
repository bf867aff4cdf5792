"""The limit of open files is raised where it may be."""

import subprocess
import sys

PROGRAM = """
import resource
from keyvault.descriptors import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def _limited(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(soft=soft, hard=hard)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """A process that starts with few descriptors gets what the system allows it."""
    assert _limited(256, 2_048).stdout.strip() == "2048"


def test_too_low_a_hard_limit_is_said() -> None:
    """Where the system allows too few, the operator is told what to raise."""
    limited = _limited(256, 512)
    assert limited.stdout.strip() == "512"
    assert "LimitNOFILE" in limited.stderr

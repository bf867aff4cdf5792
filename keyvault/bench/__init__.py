"""Figures of this machine, measured against a bare server and the bare token: ``keyvault bench``.

What is measured is what is served: a deployment made by ``keyvault init``, its server in a process of its own, mutual
TLS, a policy with rules and limits, and the ledger durable on a real disk. Beside it stand the two yardsticks, measured
in the same minutes: an echo server of the same kind that only answers, and python-pkcs11 that only signs.

Machines are noisy and their speed drifts. So whatever is compared is measured in turns (A B A B), and every figure is
the median of the rounds. A figure is never an assertion: no test knows a speed.
"""

from keyvault.bench.options import Figure as Figure
from keyvault.bench.options import Options as Options
from keyvault.bench.report import describe as describe
from keyvault.bench.run import run as run

"""Figures of this machine, measured against a bare server and the bare token: ``keyvault bench``.

What is measured is what is served: a deployment made by ``keyvault init``, its server in a process of its own, mutual
TLS, a policy with rules and limits, and the ledger durable on a real disk. Beside it stand the two yardsticks, measured
in the same minutes: an echo server of the same kind that only answers, and python-pkcs11 that only signs.

Machines are noisy and their speed drifts. So whatever is compared is measured in turns (A B A B), and every figure is
the median of the rounds. A figure is never an assertion: no test knows a speed.

``--decide`` measures without any of that what a single decision costs (``keyvault.bench.decide``). The aims: an ERC-20
transfer and a Binance order within 150 us (p50) and 500 us (p99), a Permit2 batch of three and a Solana message of 20
instructions within 400 us (p50), under 200 rules and 50 limits; and no dearer with 500 rules than with 20, as long as
the rules are about other keys.
"""

from keyvault.bench.options import Figure as Figure
from keyvault.bench.options import Options as Options
from keyvault.bench.report import describe as describe
from keyvault.bench.run import run as run

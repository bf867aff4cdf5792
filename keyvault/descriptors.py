"""Open files: what the system lets this process have."""

import logging
import resource

from keyvault.core.limits import DESCRIPTORS_MIN, DESCRIPTORS_WANTED

_log = logging.getLogger("keyvault")


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files as far as is useful and allowed; warn if that is not enough.

    Many systems give 1,024 for programs that still use ``select``. We do not, and each connection takes one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < DESCRIPTORS_MIN:
        _log.warning("at most %d files may be open, %d are needed: raise LimitNOFILE", wanted, DESCRIPTORS_MIN)

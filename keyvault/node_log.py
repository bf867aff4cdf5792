"""What becomes of a node, as its log says it; see ``Reporter`` in engine/standing.py."""

import structlog

log = structlog.get_logger("keyvault")


class NodeLog:
    """Logs what becomes of a node."""

    def leads(self, epoch: int) -> None:
        """See Reporter."""
        log.info("leading", epoch=epoch)

    def ended(self, epoch: int, why: str) -> None:
        """See Reporter."""
        log.warning("the term ended, following", epoch=epoch, reason=why)

    def quarantined(self, why: str) -> None:
        """See Reporter."""
        log.critical("in quarantine", reason=why)

    def evens_out(self, place: str) -> None:
        """See Reporter."""
        log.info("handing over to even out", to=place)

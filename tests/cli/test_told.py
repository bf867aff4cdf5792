"""What commands say about a proposal."""

import pytest

from keyvault.cli.told import next_step, told
from keyvault.client.proposals import proposal_of
from keyvault.core.ids import EnclaveName, UnixMillis
from keyvault.core.statements import Action, Statement
from tests.client.scripted import shown_as
from tests.worlds import key_parameters

EXPIRES_AT = 1_790_000_000_000


@pytest.mark.parametrize(("due_at", "never"), [(EXPIRES_AT - 1, False), (EXPIRES_AT, True), (EXPIRES_AT + 1, True)])
def test_what_expires_first_is_not_said_to_be_carried_out(due_at: int, *, never: bool) -> None:
    """An approved proposal whose delay outlives it is said to come to nothing, and to be proposed anew."""
    statement = Statement(
        action=Action.KEY_CREATE,
        enclave=EnclaveName("hot"),
        enclave_id="ab" * 32,
        policy_version=1,
        requester="alice",
        parameters=tuple(sorted(key_parameters().items())),
        nonce="00",
        expires_at=UnixMillis(EXPIRES_AT),
    )
    message = shown_as(statement)
    message.approved_time_ms, message.due_time_ms = EXPIRES_AT - 10, due_at
    proposal = proposal_of(EnclaveName("hot"), None, message, whole=True)
    assert ("NEVER: it expires before its delay is over" in told(proposal)) is never
    assert ("unless somebody vetoes it" in told(proposal)) is not never
    assert ("propose it anew" in next_step(proposal)) is never

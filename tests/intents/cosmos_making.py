"""Messages of v4-proto at random, for tests that compare what is read in them."""

from collections.abc import Callable
from random import Random
from typing import Any

from keyvault.intents.cosmos_address import address_text
from tests.intents.cosmos_building import (
    ME,
    OWN_COIN,
    USDC,
    accountplus,
    authorizations,
    authz,
    bank,
    bank_authz,
    clob,
    coin,
    orders,
    packed,
    sending,
    subaccounts,
    transfers,
)

NUMBERS = (1, 2, 127, 128, 300, 2**31, 2**32 - 1)
LARGE = (*NUMBERS, 2**32, 2**63, 2**64 - 1)
PEOPLE = [ME, *(address_text("dydx", bytes((seed,)) * 20) for seed in range(20)), address_text("dydx", b"\x07" * 32)]

Oracle = Any
"""A message of v4-proto."""


class Maker:
    """Makes messages of one account with every field at random, absent ones included."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._account = chance.choice(PEOPLE[:3])

    def message(self) -> Oracle:
        """Return any message whose meaning is known."""
        makers: tuple[Callable[[], Oracle], ...] = (
            self._send, self._grant, self._revoke, self._transfer,
            self._deposit, self._withdraw, self._add, self._remove,
        )  # fmt: skip
        return self._chance.choice(makers)()

    def lone(self) -> Oracle:
        """Return a message that stands alone."""
        return self._chance.choice((self._place, self._cancel, self._batch))()

    def coins(self) -> list[Oracle]:
        """Return some coins, in order."""
        names = sorted(self._chance.sample([OWN_COIN, USDC, "uatom", "factory/a/b"], self._chance.randint(1, 3)))
        return [coin(self._chance.choice((*LARGE, 2**256 - 1)), name) for name in names]

    def _one(self, values: tuple[int, ...] = NUMBERS) -> int:
        return self._chance.choice(values)

    def _maybe(self, values: tuple[int, ...] = NUMBERS) -> int:
        return self._chance.choice((0, *values))

    def _anybody(self) -> str:
        return self._chance.choice(PEOPLE)

    def _subaccount(self, owner: str | None = None) -> Oracle:
        return subaccounts.SubaccountId(owner=owner or self._account, number=self._maybe())

    def _send(self) -> Oracle:
        return bank.MsgSend(from_address=self._account, to_address=self._anybody(), amount=self.coins())

    def _grant(self) -> Oracle:
        names = [self._anybody() for _ in range(self._maybe((1, 2)))]
        kinds = (
            bank_authz.SendAuthorization(spend_limit=self.coins(), allow_list=names),
            authorizations.GenericAuthorization(msg="/cosmos.bank.v1beta1.MsgSend"),
        )
        grant = authorizations.Grant(authorization=packed(self._chance.choice(kinds)))
        if self._chance.random() < 0.5:
            grant.expiration.seconds, grant.expiration.nanos = self._maybe(), self._maybe((1, 10**6, 10**9 - 1))
        return authz.MsgGrant(granter=self._account, grantee=self._anybody(), grant=grant)

    def _revoke(self) -> Oracle:
        return authz.MsgRevoke(granter=self._account, grantee=self._anybody(), msg_type_url="/a.B")

    def _transfer(self) -> Oracle:
        made = transfers.Transfer(sender=self._subaccount(), recipient=self._subaccount(self._anybody()))
        made.asset_id, made.amount = self._maybe(), self._one(LARGE)
        return sending.MsgCreateTransfer(transfer=made)

    def _deposit(self) -> Oracle:
        fields = {
            "recipient": self._subaccount(self._anybody()),
            "asset_id": self._maybe(),
            "quantums": self._one(LARGE),
        }
        return transfers.MsgDepositToSubaccount(sender=self._account, **fields)

    def _withdraw(self) -> Oracle:
        fields = {"recipient": self._anybody(), "asset_id": self._maybe(), "quantums": self._one(LARGE)}
        return transfers.MsgWithdrawFromSubaccount(sender=self._subaccount(), **fields)

    def _add(self) -> Oracle:
        kind = self._chance.choice(("SignatureVerification", "AllOf"))
        return accountplus.MsgAddAuthenticator(sender=self._account, authenticator_type=kind, data=bytes(33))

    def _remove(self) -> Oracle:
        return accountplus.MsgRemoveAuthenticator(sender=self._account, id=self._maybe(LARGE))

    def _identity(self, flags: int) -> Oracle:
        fields = {"client_id": self._maybe(), "order_flags": flags, "clob_pair_id": self._maybe()}
        return orders.OrderId(subaccount_id=self._subaccount(), **fields)

    def _ends(self, flags: int) -> dict[str, int]:
        return {"good_til_block_time" if flags else "good_til_block": self._one()}

    def _place(self) -> Oracle:
        flags = self._chance.choice((0, 0, 32, 64, 128))
        fields: dict[str, Any] = {
            "side": self._one((1, 2)),
            "quantums": self._one(LARGE),
            "subticks": self._one(LARGE),
            "time_in_force": self._maybe((1, 2)),
            "reduce_only": self._chance.random() < 0.3,
            "client_metadata": self._maybe(),
            **self._ends(flags),
        }
        if flags == 32:
            fields |= {"condition_type": self._one((1, 2)), "conditional_order_trigger_subticks": self._one(LARGE)}
        if flags == 128:
            fields["twap_parameters"] = orders.TwapParameters(duration=self._maybe(), interval=self._maybe())
        if self._chance.random() < 0.2:
            builder = orders.BuilderCodeParameters(builder_address=self._anybody(), fee_ppm=self._one((1, 10_000)))
            fields |= {"builder_code_parameters": builder, "order_router_address": self._anybody()}
        return clob.MsgPlaceOrder(order=orders.Order(order_id=self._identity(flags), **fields))

    def _cancel(self) -> Oracle:
        flags = self._chance.choice((0, 32, 64, 128))
        return clob.MsgCancelOrder(order_id=self._identity(flags), **self._ends(flags))

    def _batch(self) -> Oracle:
        batches = [
            clob.OrderBatch(
                clob_pair_id=self._maybe(), client_ids=[self._maybe() for _ in range(self._one((1, 2, 200)))]
            )
            for _ in range(self._one((1, 2, 5)))
        ]
        return clob.MsgBatchCancel(
            subaccount_id=self._subaccount(), short_term_cancels=batches, good_til_block=self._one()
        )

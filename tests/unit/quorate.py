"""Asking under a rule, and what comes of it: what the tests of quorums and rules share."""

from datetime import timedelta

import pytest

from keyvault.domain.commands import DestroyKey
from keyvault.domain.errors import QuorumError
from keyvault.domain.people import Assurance
from keyvault.domain.quorum import clear
from keyvault.signatures import verify
from tests.unit.officers import NOW, OFFICERS, ORDER, electorate, officer, request_for

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
DESTROY = DestroyKey(request_for().id, "end of life")
ERIN, FRANK = officer("erin"), officer("frank")
CARDS = tuple(officer(f"{name}-c", assurance=Assurance.CARD) for name in ("ann", "ben", "cat"))


def asked_under(rule, command=ORDER, **more):
    return request_for(command, rule=rule, **more)


def cleared(asked, approvers, people=OFFICERS, at=NOW, duties=(), **how):
    approvals = [who.decides(asked.document, **how) for who in approvers]
    return clear(electorate(people, duties), asked.rule, asked, approvals, verify, at).approvers


def refused(reason, asked, approvers, error=QuorumError, **more):
    with pytest.raises(error, match=reason) as refusal:
        cleared(asked, approvers, **more)
    return refusal.value


def like(who, **changes):
    return who.like(**changes)

"""Counting what is sent to the authority against what each party may send."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from keyvault.domain.canonical import Document
from keyvault.domain.certificates import Certificate
from keyvault.domain.pacing import Allowance, Pace
from keyvault.domain.times import text_of
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Work


def allowance(vault: Vault) -> Allowance:
    rules = vault.settings.certificates
    return Allowance(rules.alone_a_day, timedelta(seconds=rules.gap))


def counted(
    vault: Vault, work: Work, batch: UUID | None, sent: Iterable[Certificate]
) -> list[Document]:
    """Count requests of a batch, or those that are sent alone, for their parties.

    Return where each party stands now. Raises `SubmissionLimitError`; the caller commits.
    """
    parties = Counter(one.scope.party for one in sent if one.scope is not None)
    now, rules = vault.clock(), allowance(vault)
    told = []
    for party in sorted(parties):
        before, count = work.paces.lock(party, now), parties[party]
        if batch is None:
            after = before.with_alone(count, now, rules)
        else:
            after = before.with_batch(batch, count, now, rules)
        work.paces.put(after)
        told.append(_told(after, now, rules))
    return told


def _told(pace: Pace, now: datetime, rules: Allowance) -> Document:
    busy = pace.busy_until > now
    return {
        "party": pace.party,
        "alone_left": rules.a_day - pace.alone_on(now),
        "batch": str(pace.batch) if busy else None,
        "busy_until": text_of(pace.busy_until) if busy else None,
    }

"""The pace of submissions in both databases: who asks at once is counted one after another."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

from keyvault.domain.errors import SubmissionLimitError
from keyvault.domain.pacing import Allowance, Pace
from keyvault.store import Database
from tests.store.events import used

NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
RULES = Allowance(20, timedelta(seconds=0.8))


def sent(database: Database) -> bool:
    with database.work() as work:
        try:
            work.paces.put(work.paces.lock("ACME", NOW).with_alone(1, NOW, RULES))
        except SubmissionLimitError:
            return False
        work.commit(used())
    return True


def test_of_thirty_at_once_twenty_are_sent_where_twenty_are_allowed(database_url: str):
    databases = [Database(database_url, node=f"node-{at}") for at in range(2)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(sent, databases * 15))
    assert sum(done) == RULES.a_day
    batch = UUID(int=7)
    with databases[0].work() as work:
        after = work.paces.lock("ACME", NOW).with_batch(batch, 5, NOW, RULES)
        work.paces.put(after)
        work.commit(used())
    with databases[1].work() as work:
        assert work.paces.lock("ACME", NOW) == after
        assert work.paces.lock("OTHER", NOW) == Pace("OTHER", NOW.date())
    for each in databases:
        each.close()

"""The database: bring it to this version, and settle what a crash left behind."""

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.errors import FindingsError
from cli.output import answer, say, table
from keyvault import bootstrap
from keyvault.operations.reconcile import ALARMS
from keyvault.operations.reconcile import reconcile as settle
from keyvault.settings import Settings
from keyvault.store.unit_of_work import Database

app = group("Look after the database.")


@command(app, "migrate", "keyvault migrate --config keyvault.toml")
def migrate(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Bring the database to the version of this program."""
    settings = Settings.load(config)
    database = Database(settings.database, node=settings.node)
    before = database.version()
    database.migrate()
    after = database.version()
    database.close()
    say("nothing to do" if before == after else f"migrated from {before or 'nothing'} to {after}")
    answer({"before": before, "after": after}, str(after))


@command(app, "reconcile", "keyvault reconcile --config keyvault.toml")
def reconcile(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Settle requests that a crash cut off, and compare the register with the HSM both ways."""
    vault = bootstrap.build(Settings.load(config))
    try:
        verdicts = settle(vault)
    finally:
        vault.database.close()
    found = [{"finding": str(v.finding), "key": v.key, "detail": v.detail} for v in verdicts]
    answer(found, table(("finding", "key", "detail"), ([*item.values()] for item in found)))
    alarms = sum(verdict.finding in ALARMS for verdict in verdicts)
    if alarms:
        raise FindingsError(
            f"{alarms} of {len(found)} findings need people to decide",
            next_step="each is in the log; follow the runbook for reconciling",
        )
    say("register and HSM agree")

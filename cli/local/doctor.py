"""`keyvault doctor`: what would keep the service from working, each finding with advice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.errors import FindingsError
from cli.local import host, modules
from cli.output import answer, say, table
from hsm.errors import HsmError
from keyvault.domain.errors import VaultError
from keyvault.operations.health import Check
from keyvault.settings import Settings

app = group("Examine the service.")


Examination = Callable[[Settings], Iterable[Check]]
EXAMINATIONS: tuple[tuple[str, Examination], ...] = (
    ("keys token", lambda settings: modules.examine(settings, "keys")),
    ("log token", lambda settings: modules.examine(settings, "log")),
    ("database", host.database),
    ("clock", host.clock),
    ("disk", host.disk),
    ("sockets", host.sockets),
    ("certificate", host.certificate),
    ("process", host.process),
)


@command(app, "doctor", "keyvault doctor --config keyvault.toml")
def doctor(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Examine module, token, PIN, mechanisms, a signature, database, clock, disk and more."""
    settings = Settings.load(config)
    checks = [check for name, examine in EXAMINATIONS for check in _safely(name, examine, settings)]
    rows = ((c.name, "ok" if c.ok else "WRONG", c.reason, c.next_step) for c in checks)
    answer([asdict(check) for check in checks], table(("check", "", "found", "advice"), rows))
    wrong = [check.name for check in checks if not check.ok]
    if wrong:
        raise FindingsError(
            f"{len(wrong)} of {len(checks)} checks found something: {', '.join(wrong)}",
            next_step="follow the advice beside each",
        )
    say(f"all {len(checks)} checks are well")


def _safely(name: str, examine: Examination, settings: Settings) -> Iterator[Check]:
    """Every check up to the one that failed, and why that one did."""
    try:
        yield from examine(settings)
    except (VaultError, HsmError) as error:
        yield Check(name, ok=False, reason=str(error), next_step=error.next_step)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        yield Check(name, ok=False, reason=reason, next_step="see that it exists and is yours")

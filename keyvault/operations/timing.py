"""What the log says of clocks and of time stamping authorities, for whoever asks for health."""

from keyvault.domain.audit import EventType
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Reading

BAD = {
    EventType.TIME_UNTRUSTED: "its clock is not to be trusted",
    EventType.TIME_STAMP_FAILED: "gives no time stamps",
}


def remark(vault: Vault) -> str:
    """What health says of time. It is never a reason not to sign: witnesses keep time as well."""
    if vault.settings.time is None:
        return ""
    names = [one.name for one in vault.settings.time.authorities]
    with vault.database.reading() as work:
        said = [_said(work, "clock", vault.settings.node)]
        said += [_said(work, "time", name) for name in names]
    return "; ".join(filter(None, said))


def _said(work: Reading, kind: str, name: str) -> str:
    newest = work.audit.newest_of(f"{kind}:{name}")
    bad = BAD.get(EventType(newest.header["ty"])) if newest else None
    if newest is None or bad is None:
        return ""
    return f"{name} {bad} since {newest.time:%Y-%m-%d %H:%M} UTC; see runbook time-untrusted"

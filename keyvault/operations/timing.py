"""What the log says of clocks and time stamps: for whoever asks for health, and in evidence."""

from contextlib import suppress

from keyvault.domain.audit import EventType
from keyvault.domain.tree import range_proof
from keyvault.evidence.bundle import range_proof_text
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


def evidence(vault: Vault, work: Reading, start: int, end: int, size: int) -> dict[str, bytes]:
    """Return the files of time stamps that bracket events [start, end), by their names in `tsa/`.

    Those before the first event and after the last, each with its checkpoint and the proof that
    the log of `size` continues it, and the roots that this service holds them against.
    """
    files: dict[str, bytes] = {}
    hashes = work.audit.hashes()
    for stamp in work.audit.stamps_around(start, end, size):
        found = work.audit.checkpoint(stamp.size)
        if found is None or found.size != stamp.size:
            continue
        proof = range_proof(hashes, stamp.size, stamp.size, size)
        files[f"{stamp.size}.note"] = found.note.encode()
        files[f"{stamp.size}.proof"] = range_proof_text(proof)
        files[f"{stamp.size}-{stamp.tsa}.tsr"] = stamp.reply
        files |= _roots(vault, stamp.tsa)
    return files


def _roots(vault: Vault, name: str) -> dict[str, bytes]:
    """An authority that the settings no longer name has none here; auditors have their own."""
    with suppress(OSError):
        for one in vault.settings.time.authorities if vault.settings.time else ():
            if one.name == name:
                return {f"{name}.pem": one.ca.read_bytes()}
    return {}

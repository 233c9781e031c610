"""What the log says of the streams that lead out of it, for whoever asks for health."""

from keyvault.domain.audit import EventType
from keyvault.operations.vault import Vault


def remark(vault: Vault) -> str:
    """What health says: streams that ship nothing. It is never a reason not to sign."""
    with vault.database.reading() as work:
        newest = {
            one.name: work.audit.newest_of(f"stream:{one.name}") for one in vault.settings.streams
        }
    failed = [
        name
        for name, event in newest.items()
        if event is not None and event.header["ty"] == EventType.STREAM_FAILED
    ]
    return (
        f"nothing is shipped by {', '.join(failed)}; see runbook streams-failing" if failed else ""
    )

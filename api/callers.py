"""Who calls: which certificate a call comes with, and whom it stands for now.

Persons are asked about at each call, since any process may close a session. Systems call by the
thousand and are remembered for as long as authority stays the same; what they use is held against
the newest authority once more where it is recorded.
"""

import asyncio
import hashlib
import ssl
import time
from typing import Any

from api.lockout import Lockout
from api.proxy import NAMES, PROXIED, PROXY, forwarded
from keyvault.domain.access import Principal
from keyvault.domain.errors import NotAuthenticatedError
from keyvault.domain.people import System
from keyvault.operations import people
from keyvault.operations.vault import Vault

LOOK = 0.1  # seconds after which a process looks at authority again, if anybody calls
CACHE_LIMIT = 4_096  # certificates


class Callers:
    """Certificates and whom they stand for. Lives in one event loop."""

    def __init__(self, vault: Vault, lockout: Lockout) -> None:
        self._vault = vault
        self._lockout = lockout
        self._head = "", 0  # of authority, and of what tokens and certificates are worth
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._known: dict[str, Principal] = {}  # systems
        self._asking: dict[str, asyncio.Task[Principal]] = {}

    async def of(self, certificate: str | None) -> Principal:
        """Return whose certificate (PEM) this is. Raises `NotAuthenticatedError`, `BusyError`."""
        if certificate is None:
            raise NotAuthenticatedError(
                "this needs a client certificate",
                next_step="people: keyvault login; systems: ask for enrolment",
            )
        if time.monotonic() - self._looked > LOOK:
            await asyncio.shield(self._look())
        known = self._known.get(certificate)
        if known is not None and self._vault.clock() < known.until:
            return known
        return await asyncio.shield(self._ask(certificate))

    def forget(self) -> None:
        """Look again before the next call: authority may just have changed here."""
        self._looked = float("-inf")

    def _look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._seen())
        return self._looking

    async def _seen(self) -> None:
        began = time.monotonic()
        head = await asyncio.to_thread(people.head, self._vault)
        if head != self._head:
            self._known.clear()
        if head[0] != self._head[0]:
            self._lockout.clear()  # who was turned away may be enrolled by now
        self._head = head
        self._looked = began

    def _ask(self, certificate: str) -> asyncio.Task[Principal]:
        task = self._asking.get(certificate)
        if task is None:
            task = asyncio.create_task(self._identified(certificate))
            self._asking[certificate] = task
            task.add_done_callback(lambda _: self._asking.pop(certificate, None))
        return task

    async def _identified(self, certificate: str) -> Principal:
        der = ssl.PEM_cert_to_DER_cert(certificate)
        name = f"certificate:{hashlib.sha256(der).hexdigest()}"
        self._lockout.check(name)
        head = self._head  # what changes while it is asked is not remembered
        try:
            who = await asyncio.to_thread(people.identify, self._vault, der)
        except NotAuthenticatedError:
            self._lockout.failed(name)
            raise
        self._lockout.succeeded(name)
        current = self._head == head and who.authority == head[0]
        if current and isinstance(who.subject, System):
            if len(self._known) >= CACHE_LIMIT:
                self._known.pop(next(iter(self._known)))
            self._known[certificate] = who
        return who


def certificate_of(scope: Any) -> str | None:
    """Take the caller's own certificate (PEM) from the connection, or from our proxy's header.

    No header of this kind is left for anybody behind. Raises `NotAuthenticatedError` if one came
    from anywhere but the proxy, or if the proxy's is not what RFC 9440 says.
    """
    tls = scope.get("extensions", {}).get("tls", {})
    claims = [field for field in scope["headers"] if field[0] in NAMES]
    if claims:
        scope["headers"] = [field for field in scope["headers"] if field[0] not in NAMES]
    if tls.get(PROXIED):
        return forwarded(claims)
    if claims:
        raise NotAuthenticatedError(
            "a certificate in a header is believed from our own proxy alone",
            next_step="show the certificate in the TLS handshake, and send no such header",
        )
    chain = tls.get("client_cert_chain")
    return next(iter(chain), None) if chain else None


def address_of(scope: Any) -> str:
    """Name where a call comes from: an address, or the proxy that keeps it to itself."""
    client = scope.get("client")
    return client[0] if client else PROXY

"""The gate for what is rare: a blocking client, which first brings it up to the newest authority.

Its twin that uses keys all day is `keyvault.gate.hot`. Both stop asking for a while when the device
is down.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hsm.errors import DeviceUnavailableError, HsmError
from hsm.types import Mechanism, ObjectRecord, VerifyPolicy, WrappedKey
from keyvault import wire
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.gate.breaker import DEADLINE, GRACE, STATUS_TIMEOUT, Breaker, State, watched
from keyvault.gate.documents import record_of, wrapped_document, wrapped_of

SLOW = 6  # deadlines for a call that makes or lists keys
PUSH = 100  # authority records in one call

Texts = Sequence[str]
RecordsFrom = Callable[[int], Sequence[Document]]
"""(number) → the authority records from that number on, as documents."""


class Gate:
    """The gate for threads that may wait: whatever is rare, one call at a time.

    Every method raises the gate's own errors, `DeviceTimeoutError`, and `DeviceUnavailableError`
    with `retry_after` while the device is down.
    """

    def __init__(
        self,
        path: Path,
        *,
        records_from: RecordsFrom,
        breaker: Breaker | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._wire = wire.Client(path)
        self._probe = wire.Client(path)  # a status never waits behind a long call of this process
        self._records_from = records_from
        self._deadline = deadline
        self._breaker = breaker or Breaker()

    @property
    def state(self) -> State:
        return self._breaker.state

    def close(self) -> None:
        self._wire.close()
        self._probe.close()

    def status(self) -> Document:
        """Ask the gate itself, whatever the breaker thinks. Raises within `STATUS_TIMEOUT`."""
        return dict(self._once(self._probe, "status", timeout=STATUS_TIMEOUT))

    def execute(self, request: Document, approvals: Sequence[Document]) -> Document:
        """Carry out an approved request, once.

        generate-key and import-key answer with what was made, export-key with {"blob"}, destroy-key
        with {"destroyed"}: how many objects, allow-use with {"uses"}, the others with {"state"}.
        """
        self.push_authority()
        return dict(self._call("execute", request, list(approvals)))

    def stop(self, key_id: bytes, state: str) -> None:
        """Have the gate itself refuse a key from now on: suspended, or compromised for ever."""
        self._call("stop", key_id, state)

    def issue_session(self, delegation: Document, signature: bytes) -> bytes:
        """Return a client certificate (DER) for the key that a person delegates to."""
        self.push_authority()
        return bytes(self._call("issue_session", delegation, signature))

    def certification_requests(self, items: Sequence[Document]) -> list[Document]:
        """Return {"csr"} for each of up to 64 keys, or {"code", "message", "next_step"}.

        An item has key_id, profile, interface, system, and wrapped: a `WrappedKey`, or None.
        """
        sent = [
            {**item, "wrapped": item["wrapped"] and wrapped_document(item["wrapped"])}
            for item in items
        ]
        return [dict(each) for each in self._call("certification_requests", sent)]

    def session_ca(self) -> bytes:
        """Return the certificate (DER) that issues session certificates."""
        return bytes(self._call("session_ca"))

    def sign_manifest(self, manifest: bytes) -> bytes:
        """Sign an evidence manifest: DER, over its context line and the manifest."""
        return bytes(self._call("sign_manifest", manifest))

    def sign_report(self, attributes: bytes) -> bytes:
        """Sign the signed attributes of a CMS signature with the evidence key: DER."""
        return bytes(self._call("sign_report", attributes))

    def report_certificate(self) -> bytes:
        """Return a certificate (DER) of the evidence key, by itself."""
        return bytes(self._call("report_certificate"))

    def sign_destruction(self, statement: bytes) -> bytes:
        """Sign that a key is gone: DER, over its context line and the statement."""
        return bytes(self._call("sign_destruction", statement))

    def sign(self, key_id: bytes, mechanism: Mechanism, digest: bytes) -> bytes:
        """One signature by a key that this gate holds, for those who try a second token."""
        how = str(mechanism), [digest], str(VerifyPolicy.ALWAYS)
        return bytes(self._call("sign", key_id, *how)[0])

    def back_up(self, backup_key: bytes, key_ids: Sequence[bytes]) -> list[Document]:
        """Return {"blob"} for each of up to 128 keys, or {"code", "message"}."""
        return [dict(each) for each in self._call("back_up", backup_key, list(key_ids))]

    def sign_backup(self, statement: bytes) -> bytes:
        """Sign the last line of a backup: DER, over its context line and the statement."""
        return bytes(self._call("sign_backup", statement))

    def own_key(self) -> bytes:
        """The key (SPKI) by which the second token's gate says what is its own."""
        return bytes(self._call("own_key"))

    def restorations(self) -> list[str]:
        return list(self._call("restorations"))

    def enter_share(self, request_id: bytes, number: int, box: bytes) -> Document:
        """Hand a sealed share on: {"number", "entered", "rebuilt"}. `ShareInvalidError`."""
        return dict(self._call("enter_share", request_id, number, box))

    def restore_lines(self, request_id: bytes, offset: int, lines: bytes) -> Document:
        return dict(self._call("restore_lines", request_id, offset, lines))

    def end_restoration(self, request_id: bytes, keep: bool) -> Document:
        return dict(self._call("end_restoration", request_id, keep))

    def deliver(self, delivery: Document, signature: bytes) -> Document:
        """Hand a custodian's part in, or have one handed out: see `HandoverGate.deliver`."""
        self.push_authority()
        return dict(self._call("deliver", delivery, signature))

    def end_handover(self, request_id: bytes, outcome: str, reason: str) -> Document:
        """End a handover: {"transcript", "transcript_signature"}, or {} where there is none."""
        return dict(self._call("end_handover", request_id, outcome, reason))

    def handovers(self) -> list[str]:
        """The ids of the handovers that the gate has open."""
        return list(self._call("handovers"))

    def random(self, size: int) -> bytes:
        """Return random bytes of the device."""
        return bytes(self._call("random", size))

    def issue_leaf(self, terms: Document, words: Sequence[Document], proof: bytes) -> bytes:
        """Have an authority of ours certify a key (DER), by what people signed about it."""
        self.push_authority()
        return bytes(self._call("issue_leaf", terms, list(words), proof))

    def sign_card(self, key: bytes, words: Sequence[Document], own: dict[str, bytes]) -> Document:
        """Have a token's CHUID and objects signed: {"chuid", "security"}; `own` by slot, DER."""
        self.push_authority()
        return dict(self._call("sign_card", key, list(words), own))

    def agreement_peer(self, job: str, slot: str, spki: bytes) -> bytes:
        return bytes(self._call("agreement_peer", job, slot, spki))

    def sign_crl(self, issuer: bytes, number: int, dates: Texts, entries: Sequence[Texts]) -> bytes:
        """Have an authority sign a list (DER): [serial in hex, time, reason] each."""
        listed = [list(each) for each in entries]
        return bytes(self._call("sign_crl", issuer, number, list(dates), listed))

    def sign_ocsp(self, issuer: bytes, answer: Document, dates: Texts, nonce: bytes) -> bytes:
        """Have an authority sign an OCSP response (DER) about one certificate."""
        return bytes(self._call("sign_ocsp", issuer, answer, list(dates), nonce))

    def counter(self, series: str) -> int:
        """The highest originator counter of a series that was ever given."""
        return int(self._call("counter", series))

    def issue_counters(self, series: str, first: int, last: int) -> None:
        """Have the gate remember numbers for ever. Raises `CounterRegressionError`."""
        self._call("issue_counters", series, first, last)

    def raise_counter(self, series: str, floor: int) -> None:
        """Have the gate remember that no number up to `floor` is to be given."""
        self._call("raise_counter", series, floor)

    def card_answer(
        self, token: bytes, version: int, algorithm: int, witness: bytes, challenge: bytes
    ) -> tuple[bytes, bytes]:
        """What a card's own management key makes of its witness and of our challenge."""
        opened, sealed = self._call("card_answer", token, version, algorithm, witness, challenge)
        return bytes(opened), bytes(sealed)

    def card_key(self, token: bytes, version: int, algorithm: int) -> bytes:
        """A card's own management key, until `card_key_set` says that the card has it."""
        return bytes(self._call("card_key", token, version, algorithm))

    def card_key_set(self, token: bytes, version: int) -> None:
        self._call("card_key_set", token, version)

    def card_seal(self, token: bytes, kind: str) -> bytes:
        """Eight digits of the device's RNG, sealed as this token's "pin" or "puk"."""
        return bytes(self._call("card_seal", token, kind))

    def card_open(self, token: bytes, kind: str, sealed: bytes) -> bytes:
        """The digits; once they are closed, only by a release. Raises `NotPermittedError`."""
        return bytes(self._call("card_open", token, kind, sealed))

    def card_close(self, token: bytes, sealed: bytes) -> None:
        self._call("card_close", token, sealed)

    def card_release(self, token: bytes, signed: Document, second: Document) -> None:
        """Open what is closed for an hour, by two people's signatures."""
        self.push_authority()
        self._call("card_release", token, signed, second)

    def card_spend(self, token: bytes, sealed: bytes) -> None:
        self._call("card_spend", token, sealed)  # a PUK that others may have seen

    def card_channel(self, what: str, token: bytes, version: int, *more: Any) -> Any:
        """A card's secure channel: "challenge", "session" or "keys", see `ChannelGate`."""
        return self._call(f"channel_{what}", token, version, *more)

    def keks(self) -> list[int]:
        """The numbers of the service's wrapping keys that are on the token, the newest last."""
        return [int(number) for number in self._call("keks")]

    def rewrap(self, records: Sequence[WrappedKey]) -> list[WrappedKey | str]:
        """Return up to 64 records under the newest of them, or why one stays where it is."""
        answers = self._call("rewrap", [wrapped_document(one) for one in records])
        return [str(one["message"]) if "code" in one else wrapped_of(one) for one in answers]

    def inventory(self) -> list[ObjectRecord]:
        return [record_of(document) for document in self._call("inventory")]

    def inspect(self, key_id: bytes, spec: Document) -> Document:
        """Test a resident key as after its making; `spec` is its map without the id."""
        return dict(self._call("inspect", key_id, spec))

    def withdraw(self, request_id: bytes) -> None:
        """Use a request up: whatever it has not made by now it never will."""
        self._call("withdraw", request_id)

    def discard_public_half(self, key_id: bytes) -> int:
        return int(self._call("discard_public_half", key_id))

    def push_authority(self) -> Document:
        """Bring the gate up to the newest authority record."""
        position = dict(self._call("authority", []))
        while records := self._records_from(position["size"]):
            for start in range(0, len(records), PUSH):
                position = dict(self._call("authority", list(records[start : start + PUSH])))
        return position

    def _call(self, method: str, *args: Any) -> Any:
        self._breaker.check()
        return self._once(self._wire, method, *args, timeout=SLOW * self._deadline + GRACE)

    def _once(self, over: wire.Client, method: str, *args: Any, timeout: float) -> Any:
        with watched(self._breaker, self._deadline):
            return over.call(method, *args, timeout=timeout)


def silence_of(path: Path) -> str:
    """Why a gate does not answer, or nothing if it does."""
    client = wire.Client(path)
    try:
        client.call("status", timeout=STATUS_TIMEOUT)
    except (OSError, HsmError, VaultError) as error:
        return str(error)
    finally:
        client.close()
    return ""


def objects_at(path: Path, timeout: float) -> list[ObjectRecord]:
    """List what is on the token of any gate, that of the log too. `DeviceUnavailableError`."""
    client = wire.Client(path)
    try:
        return [record_of(one) for one in client.call("inventory", timeout=timeout)]
    except OSError as error:
        words = f"the gate {path.name} is away: {error}"
        raise DeviceUnavailableError(words, next_step="see runbook hsm-down") from error
    finally:
        client.close()

"""Asset registers: every key, module, person and certificate, with where it is and whose it is.

Each page is read in a transaction of its own, so that a register of any size takes the memory of
one page and keeps no lock. That it is exported is an event before its first byte leaves.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from uuid import uuid4

from keyvault.domain.access import Action, Principal, readable
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import Certificate
from keyvault.domain.keys import Key, Residence
from keyvault.domain.people import Person
from keyvault.domain.reconciliation import Token
from keyvault.domain.registers import COLUMNS, Form, Register, as_csv, as_json
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of
from keyvault.operations.reconciliation import tokens
from keyvault.operations.vault import Vault, permit

PAGE = 500  # rows

Pages = Iterator[list[Document]]


def export(vault: Vault, who: Principal, register: Register, form: Form) -> Iterator[bytes]:
    """Return a register as a file, part by part. Keys are those that the caller may list.

    All else belongs to every scope, so it takes a grant for all of them.
    """
    own = register in (Register.KEYS, Register.CERTIFICATES)
    where = None if own else Reach.ALL
    permitted = permit(vault, who, Action.REGISTER_EXPORT, where=where)
    with vault.database.work() as work:
        work.commit(
            AuditEvent(
                type=EventType.REGISTER_EXPORTED,
                outcome=Outcome.OK,
                operation=uuid4(),
                stream=f"register:{register}",
                actor=who.actor,
                role=permitted.role,
                payload={"register": str(register), "form": str(form)},
            )
        )
    columns, pages = COLUMNS[register], _PAGES[register](vault, who)
    if form is Form.CSV:
        return as_csv(columns, pages)
    return as_json(register, columns, pages, text_of(vault.clock()))


def _keys(vault: Vault, who: Principal) -> Pages:
    scopes = readable(who, Action.REGISTER_EXPORT, vault.clock())
    token = tokens(vault)[0]
    after: str | None = None
    while True:
        with vault.database.reading() as work:
            classes = vault.authority(work).key_classes
            keys, after = work.keys.page(scopes=scopes, after=after, limit=PAGE)
            ids = [key.id for key in keys]
            steps, beside = work.custody.latest_of(ids), work.keys.beside(ids)
        yield [
            _key(key, token, getattr(classes.get(key.key_class), "classification", None))
            | {str(step): text_of(at) for step, at in steps.get(key.id, {}).items()}
            | {name: text_of(at) for name, at in beside[key.id].items()}
            for key in keys
        ]
        if after is None:
            return


def _key(key: Key, token: Token, classification: str | None) -> Document:
    resident = key.residence is Residence.RESIDENT
    return {
        "id": str(key.id),
        "label": key.label,
        "scope": str(key.scope),
        "algorithm": str(key.algorithm),
        "usage": str(key.usage),
        "class": key.key_class,
        "classification": classification,
        "state": str(key.state),
        "residence": str(key.residence),
        "module": token.label if resident else "database, under the KEK of " + token.label,
        "serial": token.serial,
        "location": token.location,
        "owner": key.owner,
        "generated": text_of(key.created_at),
        "registered": text_of(key.created_at),
        "protect_until": text_of(key.protect_until),
        "process_until": text_of(key.process_until),
        "supersedes": str(key.supersedes) if key.supersedes else None,
        "check_value": key.check_value,
        "public_key_sha256": sha256(key.public_key).hexdigest() if key.public_key else "",
        **_times(key),
    }


def _times(key: Key) -> Document:
    times = {
        "activated": key.active_from,
        "compromised": key.compromised_at,
        "destroyed": key.destroyed_at,
    }
    return {name: text_of(at) for name, at in times.items() if at}


def _modules(vault: Vault, _: Principal) -> Pages:
    names = COLUMNS[Register.MODULES]
    yield [{name: getattr(one, name) for name in names} for one in tokens(vault)]


def _people(vault: Vault, _: Principal) -> Pages:
    with vault.database.reading() as work:
        people = vault.authority(work).people
    listed = [people[name] for name in sorted(people)]
    for start in range(0, len(listed), PAGE):
        yield [_person(one) for one in listed[start : start + PAGE]]


def _person(one: Person) -> Document:
    return {
        "id": one.id,
        "name": one.name,
        "organisation": one.organisation,
        "site": one.site,
        "manager": one.manager,
        "roles": [f"{grant.role} for {grant.scope}" for grant in one.grants],
        "vetting": str(one.screening.vetting),
        "screened_on": one.screening.reviewed_on,
        "screening_due": one.screening.due,
        "hold": one.hold.reason if one.hold else None,
    }


def _certificates(vault: Vault, who: Principal) -> Pages:
    scopes = readable(who, Action.REGISTER_EXPORT, vault.clock())
    after: str | None = None
    while True:
        with vault.database.reading() as work:
            found, after = work.certificates.page({}, scopes, after, PAGE)
            keys = work.keys.some({one.key for one in found if one.key})
        owners = {key_id: key.owner for key_id, (key, _) in keys.items()}
        yield [_certificate(one, owners.get(one.key, "") if one.key else "") for one in found]
        if after is None:
            return


def _certificate(one: Certificate, owner: str) -> Document:
    told = ("id", "kind", "state", "subject", "issuer", "serial", "profile", "scope", "key")
    times = {"not_before": one.not_before, "not_after": one.not_after}
    return {
        **{name: str(getattr(one, name) or "") for name in told},
        "owner": owner,
        **{name: text_of(at) for name, at in times.items() if at},
    }


def _shares(vault: Vault, _: Principal) -> Pages:
    names = ("number", "state", "bag", "fingerprint")
    with vault.database.reading() as work:
        shares = work.backups.shares()
    yield [
        {
            **{name: str(getattr(one, name)) for name in names},
            "backup_key": str(one.backup_key),
            "owner": one.holder,
            "location": one.place,
            "changed_at": text_of(one.changed_at),
            "confirmed_at": text_of(one.confirmed_at) if one.confirmed_at else None,
        }
        for one in shares
    ]


def _backups(vault: Vault, _: Principal) -> Pages:
    names = ("id", "backup_key", "scope", "state", "owner", "taken_by", "sha256")
    counts = ("keys", "left_out", "size", "log_size")
    after: str | None = None
    while True:
        with vault.database.reading() as work:
            found, after = work.backups.page(after, PAGE)
        yield [
            {
                **{name: str(getattr(one, name) or "") for name in names},
                **{name: getattr(one, name) for name in counts},
                "location": one.place,
                "taken_at": text_of(one.taken_at),
                "destroyed_at": text_of(one.destroyed_at) if one.destroyed_at else None,
            }
            for one in found
        ]
        if after is None:
            return


_PAGES: dict[Register, Callable[[Vault, Principal], Pages]] = {
    Register.KEYS: _keys,
    Register.MODULES: _modules,
    Register.PEOPLE: _people,
    Register.CERTIFICATES: _certificates,
    Register.SHARES: _shares,
    Register.BACKUPS: _backups,
}

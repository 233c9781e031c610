"""What each record changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keyvault.evidence.verifier.acts import CHANGES
from keyvault.evidence.verifier.forms import HOLD_PAUSE
from keyvault.evidence.verifier.rules import scope_of
from keyvault.evidence.verifier.standing import State, held
from keyvault.evidence.verifier.words import (
    HOUR,
    day,
    need,
    sha256_hex,
    unbase64,
)

MOVED = ("organisation", "site", "manager", "grants")


def key_of(credential: Any) -> dict[str, Any]:
    spki = unbase64(credential["spki"])
    return {sha256_hex(spki): {**credential, "spki": spki}}


def newcomer(new: Any) -> dict[str, Any]:
    person = {name: new[name] for name in (*MOVED, "screening")}
    keys = {**key_of(new["credential"]), **(key_of(new["login"]) if new["login"] else {})}
    person.update(id=new["person"], name=new["full_name"], credentials=keys)
    return {**person, "acknowledged": {}, "hold": None}


def check_reviewed(person: Any, at: int) -> None:
    on = person["screening"]["reviewed_on"]
    need(day(on) <= at, f"the review of {person['id']} on {on} had not taken place yet")


def known(items: dict[str, Any], name: str) -> Any:
    need(name in items, f"{name} is not registered")
    return items[name]


def without(items: dict[str, Any], name: str) -> dict[str, Any]:
    known(items, name)
    return {key: value for key, value in items.items() if key != name}


class Change:
    """What a request changes when it is carried out: a method for each command."""

    def __init__(self, state: State, request: Any, at: int) -> None:
        self.state, self.new, self.at = state._replace(at=at), request["parameters"], at
        self.command, self.scope = request["command"], scope_of(request)
        self.person: Any = state.people.get(self.new.get("person"))

    def made(self) -> State:
        need(self.command in CHANGES, f"{self.command} does not change authority")
        change: Callable[[], State] = getattr(self, self.command.replace("-", "_"))
        of_one = self.scope is None or self.command.endswith("-system")
        need(of_one, f"{self.command} concerns every scope, and names one")
        new = self.command in ("register-person", "enrol-system")
        need(new or "person" not in self.new or self.person, "this person is not registered")
        return change()

    def with_person(self, **changes: Any) -> State:
        who = self.new["person"]
        return self.state._replace(
            people={**self.state.people, who: {**(self.person or {}), **changes}}
        )

    def need_new(self, *thumbprints: str) -> None:
        keys = {key for person in self.state.people.values() for key in person["credentials"]}
        keys.update(pin["key"] for one in self.state.systems.values() for pin in one["pins"])
        need(keys.isdisjoint(thumbprints), "this key is enrolled already")

    def register_person(self) -> State:
        person = newcomer(self.new)
        need(self.person is None, f"{person['id']} is registered already")
        check_reviewed(person, self.at)
        self.need_new(*person["credentials"])
        return self.with_person(**person)

    def change_person(self) -> State:
        return self.with_person(**{name: self.new[name] for name in MOVED})

    def remove_person(self) -> State:
        return self.state._replace(people=without(self.state.people, self.new["person"]))

    def review_screening(self) -> State:
        screening, last = self.new["screening"], self.person["screening"]["reviewed_on"]
        need(day(screening["reviewed_on"]) >= day(last), f"they were reviewed on {last}, later")
        check_reviewed({**self.person, "screening": screening}, self.at)
        return self.with_person(screening=screening)

    def acknowledge_duty(self) -> State:
        duty = known({duty["name"]: duty for duty in self.state.duties}, self.new["duty"])
        same = all(duty[name] == self.new[name] for name in ("version", "sha256"))
        need(same, f"{duty['name']} stands at version {duty['version']} and another text")
        before = self.person["acknowledged"]
        return self.with_person(acknowledged={**before, duty["name"]: duty["version"]})

    def hold_person(self) -> State:
        before = self.person["hold"]
        lately = before and (before["until"] is None or self.at < before["until"] + HOLD_PAUSE)
        need(not lately, f"{self.person['id']} is suspended, or was on hold until lately")
        until = self.at + self.new["hours"] * HOUR
        return self.with_person(hold={"reason": self.new["reason"], "until": until})

    def suspend_person(self) -> State:
        return self.with_person(hold={"reason": self.new["reason"], "until": None})

    def reinstate_person(self) -> State:
        need(held(self.person, self.at), f"{self.person['id']} is not on hold")
        return self.with_person(hold=None)

    def enrol_credential(self) -> State:
        key = key_of(self.new["credential"])
        self.need_new(*key)
        return self.with_person(credentials={**self.person["credentials"], **key})

    def revoke_credential(self) -> State:
        left = without(self.person["credentials"], self.new["thumbprint"])
        return self.with_person(credentials=left)

    def set_rule(self) -> State:
        rule = self.new["rule"]
        others = [other for other in self.state.rules if other["id"] != rule["id"]]
        return self.state._replace(rules=[*others, rule])

    def remove_rule(self) -> State:
        left = without({rule["id"]: rule for rule in self.state.rules}, self.new["rule"])
        return self.state._replace(rules=list(left.values()))

    def set_key_class(self) -> State:
        new = self.new["key_class"]
        return self.state._replace(classes={**self.state.classes, new["name"]: new})

    def set_duty(self) -> State:
        duty, duties = self.new["duty"], {duty["name"]: duty for duty in self.state.duties}
        follows = duties.get(duty["name"], {"version": 0})["version"] + 1
        need(duty["version"] == follows, f"{duty['name']} follows with version {follows}")
        return self.state._replace(duties=[*{**duties, duty["name"]: duty}.values()])

    def set_standard(self) -> State:
        return self.state  # nothing here follows from an edition of a standard

    def set_spare_key(self) -> State:
        return self.state  # holders of shares believe it; no act that is in the log follows from it

    def enrol_system(self) -> State:
        need(self.new["system"] not in self.state.systems, "this system is enrolled already")
        need(self.scope, "a system is enrolled for one scope")
        return self.with_pins(self.scope, [])

    def rotate_system(self) -> State:
        system = self.system()
        until = self.at + self.new["overlap_hours"] * HOUR
        return self.with_pins(system["scope"], [{**system["pins"][-1], "until": until}])

    def revoke_system(self) -> State:
        self.system()
        return self.state._replace(systems=without(self.state.systems, self.new["system"]))

    def system(self) -> Any:
        system = known(self.state.systems, self.new["system"])
        need(system["scope"] == self.scope, f"{self.new['system']} belongs to another scope")
        return system

    def with_pins(self, scope: Any, pins: list[Any]) -> State:
        key = sha256_hex(spki_of(unbase64(self.new["certificate"])))
        self.need_new(key)
        spki_of(unbase64(self.new["issuer"]))  # it has to be a certificate
        pins = [*pins, {"key": key, "until": self.new["until"]}]
        system = {"scope": scope, "pins": pins}
        return self.state._replace(systems={**self.state.systems, self.new["system"]: system})


def spki_of(certificate: bytes) -> bytes:
    """The public key of an X.509 certificate: the sixth field, or the seventh with a version."""
    _, at, end = der(certificate, 0)
    need(end == len(certificate), "a certificate is not DER")
    _, at, _ = der(certificate, at)
    for _ in range(6 if certificate[at] == VERSION else 5):
        _, _, at = der(certificate, at)
    tag, _, end = der(certificate, at)
    need(tag == SEQUENCE, "a certificate is not DER")
    return certificate[at:end]


def der(data: bytes, at: int) -> tuple[int, int, int]:
    """Read a DER element: its tag, where its content begins and where it ends."""
    length, start = data[at + 1], at + 2
    if length >= LONG:
        start, size = start + length - LONG, length - LONG
        length = int.from_bytes(data[start - size : start], "big")
    need(start + length <= len(data), "a certificate is not DER")
    return data[at], start, start + length


SEQUENCE, VERSION, LONG = 0x30, 0xA0, 0x80

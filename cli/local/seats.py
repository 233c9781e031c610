"""Who sits at the table of a ceremony, in which role, and what signs for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.desk.credentials import enrolled
from cli.desk.signing import KeyCard, KeyFile, Place
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.journals import Participant
from keyvault.domain.people import check_id

EXAMPLE = "role=officer-1,id=alice,name=Alice Ash,credential=alice.key"
_LIKE = f"write it like: {EXAMPLE}, or with card=READER"
_OWN = {"role", "id", "name", "credential", "card", "public"}


@dataclass(frozen=True, slots=True)
class Seat:
    """One participant. `officer` is what `keyvault init --officer` would take for them."""

    participant: Participant
    place: Place
    officer: str

    @property
    def door(self) -> list[str]:
        """The options by which the person's credential is named on a command line."""
        if isinstance(self.place, KeyCard):
            return ["--reader", self.place.reader] if self.place.reader else ["--card"]
        return ["--credential", str(self.place)]


def seat(text: str) -> Seat:
    """Read one --person. Raises `InvalidInputError`; no PIN or passphrase is asked for."""
    given = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if not {"role", "id"} <= set(given) or len({"credential", "card"} & set(given)) != 1:
        raise InvalidInputError("a person has a role, an id and a credential", next_step=_LIKE)
    place: Place = KeyCard(given["card"]) if "card" in given else KeyFile(Path(given["credential"]))
    spki, _ = enrolled(place, given.get("public"), None)
    if isinstance(place, KeyFile):
        given["credential"] = str(place)
    officer = ",".join(f"{name}={value}" for name, value in given.items() if name != "role")
    person = check_id(given["id"])
    who = Participant(given["role"], person, given.get("name", person), spki)
    return Seat(who, place, officer)


def seated(given: Sequence[str], roles: Mapping[str, str]) -> dict[str, Seat]:
    """Give every role of a script to somebody. Raises `InvalidInputError`."""
    seats = [seat(text) for text in given]
    names = [one.participant.role for one in seats]
    if sorted(names) != sorted(roles):
        missing = ", ".join(sorted(set(roles) - set(names))) or "one person for each role"
        raise InvalidInputError(f"the script's roles lack: {missing}", next_step=_LIKE)
    if len({one.participant.person for one in seats}) != len(seats):
        raise InvalidInputError("one person sits in two roles: each role is another person")
    by_role = {one.participant.role: one for one in seats}
    return {role: by_role[role] for role in roles}

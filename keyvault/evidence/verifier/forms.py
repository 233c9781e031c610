"""Documents of authority: every field is known, of its kind and within its limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from keyvault.evidence.verifier.words import (
    DAY,
    MALFORMED,
    P256,
    day,
    dumps,
    need,
    seconds,
    unbase64,
)

# A form and its fields, each with its kind: another form, or a line of `KINDS` or `WORDS`. With ?
# it may be null; with * it is a list, not empty, in which nothing stands twice.
FORMS = """
scope: party=part user_role=part user_id=part
seen: size=size root=hash
credential: spki=key assurance=assurance login_only=truth
grant: role=role scope=reach until=time
screening: standard=text vetting=vetting reference=text reviewed_on=day due=day
duty: name=id version=number sha256=hash roles=role* since=day
rule: id=id commands=text* key_classes=text* roles=role* approvals=number expires_after=number
  wait=number group_by=group? groups=number assurance=assurance vetting=vetting break_glass=truth
key-class: name=id residence=residence verify=verify extractable=truth guarded=truth
  module_level=number retention_days=number classification=text? location=text?
standard: name=standard-name edition=text in_force_from=day? transition_until=day? reference=text
generate-key: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number need=text? supersedes=uuid? cell_usage=cell?
import-key: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number kek=uuid blob=bytes
export-key: key=uuid kek=uuid reason=text
import-components: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number custodians=id* expected=text? minutes=number
import-envelope: label=text algorithm=text usage=text key_class=text protect_days=number
  process_days=number custodian=id public_half=bytes? expected=text? minutes=number
export-components: key=uuid custodians=id* minutes=number reason=text
export-envelope: key=uuid recipient=bytes reason=text
holder: person=id spki=bytes credential=text signature=bytes
make-backup-key: label=text threshold=number holders=holder* supersedes=uuid? reason=text
destroy-backup-key: backup_key=uuid reason=text
recover-log: kept_size=number kept_root=hash lost_size=number lost_root=hash epoch=number
  reason=text
restore-backup: backup=uuid backup_key=uuid sha256=hash threshold=number share_set=number
  check_value=text drill=truth reason=text
erase-payload: events=number* ground=text reason=text
purge-payloads: retention=retention before=time reason=text
lift-log-hold: hold=uuid reason=text
certify-authority: key=uuid parent=uuid? title=text days=number reason=text
certify-signer: key=uuid parent=uuid title=text days=number reason=text
activate-key: key=uuid reason=text
resume-key: key=uuid reason=text
deactivate-key: key=uuid reason=text
destroy-key: key=uuid reason=text
allow-use: key=uuid uses=number hours=number reason=text
lift-hold: key=uuid hold=uuid reason=text
rotate-kek: number=number reason=text
retire-kek: number=number reason=text
certify-authority: key=uuid parent=uuid? title=text days=number reason=text
register-person: person=id full_name=text organisation=text site=text manager=id?
  credential=credential grants=grant* screening=screening login=credential?
change-person: person=id organisation=text site=text manager=id? grants=grant* reason=text
remove-person: person=text reason=text
review-screening: person=text screening=screening
suspend-person: person=text reason=text
reinstate-person: person=text reason=text
enrol-credential: person=text credential=credential
revoke-credential: person=text thumbprint=text reason=text
enrol-system: system=id full_name=text certificate=bytes issuer=bytes actions=text* keys=text*
  until=time
rotate-system: system=text certificate=bytes issuer=bytes overlap_hours=number until=time
set-rule: rule=rule reason=text
remove-rule: rule=text reason=text
set-key-class: key_class=key-class reason=text
set-duty: duty=duty
set-standard: standard=standard
set-spare-key: spki=bytes reason=text
hold-person: person=text hours=number reason=text
revoke-system: system=text reason=text
acknowledge-duty: person=text duty=text version=number sha256=text
request: ctx=request-v1 origin=text id=uuid command=command parameters=any scope=scope? rule=rule
  requester=id requested_at=time expires_at=time nonce=nonce seen=seen
approval: approver=text credential=text decision=decision reason=words at=time seen=seen
  signature=base64
record: v=one seq=number prev=hash at=time request=any approvals=any
genesis: ctx=genesis-v1 origin=text site=text created_at=time nonce=hex officers=register-person*
  rules=rule* key_classes=key-class* duties=duty* standards=standard* services=services
services: log_keys=text* session_ca=bytes evidence=bytes
"""
FIELDS = {
    line.split(": ")[0]: dict(field.split("=") for field in line.split(": ")[1].split())
    for line in FORMS.replace("\n  ", " ").strip().split("\n")
}
COMMANDS = [name for name in FIELDS if "-" in name and name != "key-class"]
ROLES = """
  key-owner key-custodian key-approver hsm-security-officer registrar token-issuer
  senior-responsible-officer token-holder system-administrator incident-lead auditor
  ceremony-administrator witness
""".split()  # noqa: SIM905 - a list would be a line each
WORDS = {
    "assurance": ["software", "card"],  # the later is the stronger
    "vetting": ["baseline", "enhanced"],
    "group": ["organisation", "site", "manager"],
    "residence": ["resident", "wrapped"],
    "verify": ["always", "sampled", "never"],
    "decision": ["approve", "refuse"],
    "retention": ["key", "token", "people", "access", "use"],
    "cell": ["management", "prePaymentTopUp"],
    "role": ROLES,
    "command": COMMANDS,
    "request-v1": ["keyvault-request-v1"],
    "genesis-v1": ["keyvault-genesis-v1"],
}
HOLD_PAUSE = 3 * DAY  # from one hold to the next that one person may set
NONCE, TEXT_LIMIT, BYTES_LIMIT, LIST_LIMIT = 16, 200, 16_384, 1_000
MAX_SCREENING, MAX_OVERLAP, MAX_HOLD, MAX_LEVEL = 366 * DAY, 90 * 24, 72, 4
PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PATTERNS = {
    "part": PART,
    "reach": rf"\*|{PART}/{PART}/{PART}",
    "id": "[a-z0-9][a-z0-9-]{0,62}",
    "hash": "[0-9a-f]{64}",
    "nonce": "[0-9a-f]{32}",
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "standard-name": "[A-Za-z0-9][A-Za-z0-9 ./-]{0,63}",
}


def is_words(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LIMIT and value.isprintable()


KINDS: dict[str, Callable[[Any], object]] = {
    "any": lambda _: True,  # whoever asks looks closer
    "text": lambda text: is_words(text) and text and text == text.strip(),
    "words": is_words,
    "number": lambda number: type(number) is int and 0 <= number < 1 << 31,
    "size": lambda number: type(number) is int and 0 <= number < 1 << 53,
    "one": lambda number: type(number) is int and number == 1,
    "truth": lambda truth: type(truth) is bool,
    "base64": lambda text: unbase64(text) is not None,
    "bytes": lambda text: 0 < len(unbase64(text)) <= BYTES_LIMIT,
    "hex": lambda text: fits("text", text) and len(bytes.fromhex(text)) == NONCE,
    # There is one encoding of each, so that nobody is two people with one key.
    "key": lambda text: re.fullmatch(re.escape(P256) + b"\x04.{64}", unbase64(text), re.DOTALL),
    "time": lambda text: seconds(text) is not None,
    "day": lambda text: day(text) is not None,
}
# What has to be so beside the kinds of the fields.
ALSO: dict[str, Callable[[Any], object]] = {
    "screening": lambda own: 0 < day(own["due"]) - day(own["reviewed_on"]) <= MAX_SCREENING,
    "duty": lambda own: own["version"] > 0,
    "key-class": lambda own: own["module_level"] <= MAX_LEVEL,
    "register-person": lambda own: own["manager"] != own["person"] and keys_differ(own),
    "change-person": lambda own: own["manager"] != own["person"],
    "rotate-system": lambda own: own["overlap_hours"] <= MAX_OVERLAP,
    "hold-person": lambda own: 1 <= own["hours"] <= MAX_HOLD,
    "request": lambda own: fits(own["command"], own["parameters"]),
    "record": lambda own: all(fits("approval", approval) for approval in own["approvals"]),
}


def keys_differ(new: Any) -> bool:
    """One key of a joiner decides, and another, if there is one, only logs in."""
    key, login = new["credential"], new["login"]
    own = login is None or (login["login_only"] and login["spki"] != key["spki"])
    return own and not key["login_only"]


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of a kind. In a form, say which field is not."""
    if kind in FIELDS:
        return is_form(kind, value)
    if kind[-1] == "?":
        return value is None or fits(kind[:-1], value)
    if kind[-1] == "*":
        return is_list(kind[:-1], value)
    if kind in WORDS or kind in PATTERNS:
        pattern = PATTERNS.get(kind) or "|".join(WORDS[kind])
        return is_words(value) and re.fullmatch(pattern, value) is not None
    try:
        return bool(KINDS[kind](value))
    except MALFORMED:
        return False


def is_list(kind: str, value: Any) -> bool:
    """Not empty, and nothing in it stands twice."""
    sized = isinstance(value, list) and 0 < len(value) <= LIST_LIMIT
    same = sized and all(fits(kind, item) for item in value)
    return same and len({dumps(item) for item in value}) == len(value)


def is_form(kind: str, value: Any) -> bool:
    fields = FIELDS[kind]
    same = isinstance(value, dict) and set(value) == set(fields)
    need(same, f"a {kind} takes exactly: {', '.join(sorted(fields))}")
    for name, of_kind in fields.items():
        need(fits(of_kind, value[name]), f"{name} of a {kind} is not what it should be")
    need(kind not in ALSO or ALSO[kind](value), f"the fields of a {kind} do not go together")
    return True

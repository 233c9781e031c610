"""Tokens at the command line: a delivery that two people sign for, and who has what since."""

from pathlib import Path

import pytest

from tests.stack import PASSPHRASE, Stack
from tests.surface.carded import PERSON, used_keys
from tests.surface.desk import Desk

SIGNED = ("--yes", "--passphrase-fd", "0")


@pytest.fixture(scope="module")
def desks(stack: Stack) -> dict[str, Desk]:
    made = {}
    for person, role in (("tina", "token-issuer"), ("walter", "witness")):
        stack.register(person, role)
        path = stack.folder / f"{person}.key"
        made[person] = desk = Desk(stack.folder, person, path, PASSPHRASE.decode())
        login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
        assert login.status == 0, login.err
    return made


def signed(desk: Desk, *words: str):
    done = desk.keyvault(*words, *SIGNED, "--json", typed=desk.passphrase)
    assert done.status == 0, done.err
    return done


@pytest.mark.soak
def test_a_delivery_is_taken_in_by_two_and_handed_on(desks: dict[str, Desk], tmp_path: Path):
    tina, walter = desks["tina"], desks["walter"]
    (tmp_path / "new.txt").write_text("C-1\nC-2\n\n")
    words = ["tokens", "take-in", "--model", "PIV-C", "--serials", str(tmp_path / "new.txt")]
    words += ["--batch", "B-1", "--supplier", "Acme", "--seal", "S-1", "--place", "safe 9"]
    first = signed(tina, *words, "--with", "walter")
    assert "walter signs now: keyvault tokens confirm" in first.err
    [waiting] = walter.ask("tokens", "waiting")["items"]
    second = signed(walter, "tokens", "confirm", waiting["statement"]["id"])
    assert "signed by" in second.err
    assert "safe 9" in second.err
    [token] = tina.ask("tokens", "list", "--serial", "C-2")["items"]
    given = ("hand-over", token["id"], "--to", "walter", "--place", "safe 10", "--seal", "S-2")
    item = signed(tina, "tokens", *given).json
    signed(walter, "tokens", "confirm", item["statement"]["id"])
    assert tina.ask("tokens", "who-had", token["id"])["person"] == "walter"
    hands = tina.ask("tokens", "custody", token["id"])["items"]
    assert [(one["giver"], one["taker"]) for one in hands] == [("Acme", "tina"), ("tina", "walter")]
    for what, name in (("label", token["id"]), ("receipt", item["statement"]["id"])):
        out = tmp_path / f"{what}.pdf"
        assert tina.keyvault("tokens", what, name, "--out", str(out)).status == 0
        assert out.read_bytes().startswith(b"%PDF-")
    refused = tina.keyvault("tokens", *given, *SIGNED, "--json", typed=tina.passphrase)
    assert (refused.status, refused.error["code"]) == (69, "token-state")


@pytest.mark.soak
def test_a_receipt_is_signed_by_the_card_of_whoever_receives(
    desks: dict[str, Desk], desk: Desk, virtual, tmp_path: Path
):
    tina, walter = desks["tina"], desks["walter"]
    (tmp_path / "new.txt").write_text("C-9\n")
    words = ["tokens", "take-in", "--model", "PIV-C", "--serials", str(tmp_path / "new.txt")]
    words += ["--batch", "B-9", "--supplier", "Acme", "--seal", "S-9", "--place", "safe 9"]
    first = signed(tina, *words, "--with", "walter").json
    signed(walter, "tokens", "confirm", first["statement"]["id"])
    [token] = tina.ask("tokens", "list", "--serial", "C-9")["items"]
    given = ("hand-over", token["id"], "--to", PERSON, "--place", "desk 4", "--seal", "S-9")
    item = signed(tina, "tokens", *given).json["statement"]["id"]
    virtual.card.log.clear()
    done = signed(desk, "tokens", "confirm", item, "--card")
    assert used_keys(virtual.card) == [0x9C]
    assert f"as {PERSON}, beside tina" in done.err
    assert tina.ask("tokens", "who-had", token["id"])["person"] == PERSON
    out = tmp_path / "receipt.pdf"
    assert tina.keyvault("tokens", "receipt", item, "--out", str(out)).status == 0
    report = tmp_path / "concerns.csv"
    assert tina.ask("tokens", "concerns", "--only", "dormant", "--csv", str(report))["items"] == []
    assert report.read_bytes().startswith(b"concern,id,serial,model")

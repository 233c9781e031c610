"""Our own certification authority: make one, see what it issued, revoke, export."""

from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, say, say_more, table
from cli.passphrases import PassphraseFd
from cli.remote.asking import ask
from cli.remote.client import After, Limit, Server, connect
from cli.remote.given import Yes, bytes_of
from cli.remote.keys import KeyId, Reason
from cli.remote.signing_steps import How, signed
from cli.state import SessionDir, open_session
from keyvault.domain import pem
from keyvault.domain.commands import CertifyAuthority, CertifySigner
from keyvault.domain.statements import CertifyKey
from keyvault.domain.token_profiles import LeafProfile

app = group("Our own certification authority.")

Issuer = Annotated[UUID, typer.Argument(metavar="AUTHORITY", help="Id of the authority's key.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")]


@command(app, "certify", "keyvault ca certify KEY --title 'Example Root' --days 7000 --reason TEXT")
def certify(
    key: KeyId,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Its name.")],
    days: Annotated[int, typer.Option(help="How long it lasts.")],
    reason: Reason,
    parent: Annotated[
        UUID | None, typer.Option(metavar="AUTHORITY", help="Who certifies it; none for a root.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Ask to make a key that was never used an authority. Others approve, then it is activated."""
    ask(session, CertifyAuthority(key, parent, title, days, reason))


@command(
    app,
    "certify-signer",
    "keyvault ca certify-signer KEY --parent AUTHORITY --title 'Cards' --days 3000 --reason TEXT",
)
def certify_signer(
    key: KeyId,
    parent: Annotated[UUID, typer.Option(metavar="AUTHORITY", help="Who certifies it.")],
    title: Annotated[str, typer.Option(metavar="TEXT", help="Its name.")],
    days: Annotated[int, typer.Option(help="How long it lasts: longer than any card it signs.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Ask to make a key that was never used one that signs what cards say of themselves.

    Others approve, then it is activated and named in the settings: [issuing] signer.
    """
    ask(session, CertifySigner(key, parent, title, days, reason))


@command(app, "list", "keyvault ca list")
def list_(session: SessionDir = None) -> None:
    """List our own authorities."""
    found = connect(session).get("/v1/ca")
    rows = [(one["key"], one["name"], one["parent"], one["not_after"]) for one in found["items"]]
    answer(found, table(("authority", "name", "certified by", "ends"), rows))


@command(app, "certificate", "keyvault ca certificate AUTHORITY --out root.pem")
def certificate(authority: Issuer, out: Out, session: SessionDir = None) -> None:
    """Write the certificate of an authority, in PEM."""
    data = connect(session).get_bytes(f"/v1/ca/{authority}/certificate")
    out.write_bytes(pem.armour(data, pem.CERTIFICATE))
    say(f"SHA-256 {sha256(data).hexdigest()}")


@command(app, "crl", "keyvault ca crl AUTHORITY --out issuing.crl")
def crl(authority: Issuer, out: Out, session: SessionDir = None) -> None:
    """Write the newest list of what an authority revoked, in DER."""
    out.write_bytes(connect(session).get_bytes(f"/v1/ca/{authority}/crl"))


@command(app, "issued", "keyvault ca issued AUTHORITY")
def issued(
    authority: Issuer, limit: Limit = 50, after: After = None, session: SessionDir = None
) -> None:
    """List what an authority issued, newest first."""
    page = connect(session).get(f"/v1/ca/{authority}/issued", limit=limit, after=after)
    names = ("serial", "profile", "slot", "token", "status", "not_after", "reason")
    answer(page, table(names, [[one[name] for name in names] for one in page["items"]]))
    say_more(page)


@command(app, "revoke", "keyvault ca revoke SERIAL --reason keyCompromise")
def revoke(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", help="In hex.")],
    reason: Annotated[str, typer.Option(help="keyCompromise, superseded, cessationOfOperation.")],
    session: SessionDir = None,
) -> None:
    """Revoke one certificate of ours. It bites at once."""
    path = f"/v1/ca/certificates/{serial}/revocations"
    done = connect(session).post(path, {"reason": reason})
    answer(done, facts([(name, done[name]) for name in ("serial", "status", "revoked_at")]))


@command(
    app,
    "certify-key",
    "keyvault ca certify-key client.csr --issuer AUTHORITY --subject dcc-1 --out client.pem",
)
def certify_key(
    request: Annotated[Path, typer.Argument(metavar="FILE", help="PKCS#10, DER or PEM.")],
    issuer: Annotated[UUID, typer.Option(metavar="AUTHORITY", help="Who issues it.")],
    subject: Annotated[str, typer.Option(metavar="TEXT", help="Whose key it is.")],
    out: Out,
    profile: Annotated[LeafProfile, typer.Option(help="client or server.")] = LeafProfile.CLIENT,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="DNS", help="Of a server.")
    ] = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Certify a key on no token, for our own mutual TLS, as you sign."""
    csr = pem.der_of(bytes_of(request), pem.REQUEST)
    digest = sha256(csr).hexdigest()
    said = CertifyKey(issuer, str(profile), subject, digest, tuple(name) if name else None)
    here = open_session(session)
    server = Server.of(here)
    words = signed(here, server, said, How(session, passphrase_fd, yes)).document()
    done = server.post("/v1/ca/certificates", {**words, "request": b64encode(csr).decode()})
    out.write_bytes(pem.armour(b64decode(done["certificate"]), pem.CERTIFICATE))
    say(f"the certificate is in {out}")


@command(app, "export", "keyvault ca export AUTHORITY --out issued.csv")
def export(authority: Issuer, out: Out, session: SessionDir = None) -> None:
    """Write all that an authority issued as CSV, with a signed manifest beside it."""
    done = connect(session).post(f"/v1/ca/{authority}/exports")
    for suffix, part in (("", "csv"), (".manifest", "manifest"), (".sig", "signature")):
        out.with_name(out.name + suffix).write_bytes(b64decode(done[part]))
    say(f"{out}, {out.name}.manifest and {out.name}.sig are written")

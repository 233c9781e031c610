"""Two more peers, in venvs of their own under bench/out: PyKMIP's server and OpenStack Barbican.

Both run as their documents say, with SQLite. PyKMIP keeps its keys in that file, in clear; Barbican
has a SoftHSM token whose master key wraps one key for each project, in which secrets are encrypted.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bench.openbao import OUT, READY_LIMIT
from hsm.modules import module_of
from hsm.uri import Pkcs11Uri
from tests.stack import free_port

HERE = Path(__file__).parent
PIN = "1234"
CREATED = 202  # Accepted, and with no queue it is done by then


def installed(name: str) -> Path:
    """Install what `NAME.lock` says into its own venv, once; return the folder of programs."""
    lock, place = HERE / f"{name}.lock", OUT / name
    done = place / "done"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run((sys.executable, "-m", "venv", str(place)), check=True)
        pip = (str(place / "bin/python"), "-m", "pip", "install", "-q")
        how = ("--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(lock))
        subprocess.run((*pip, *how), check=True)
        done.touch()
    return place / "bin"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs: its process, its port, and the files of whoever calls it."""

    pid: int
    port: int
    folder: Path
    programs: Path


@contextmanager
def _running(
    name: str, programs: Path, start: Callable[[Path, int], tuple[list[str], dict[str, str]]]
) -> Iterator[Peer]:
    """Start a server in a new folder, wait until its port takes calls, and end it."""
    folder, port = Path(tempfile.mkdtemp(prefix=f"{name}-")), free_port()
    try:
        line, environment = start(folder, port)
        with (folder / "out.log").open("ab") as log:
            whole = {**os.environ, **environment}
            process = subprocess.Popen(line, stdout=log, stderr=log, cwd=folder, env=whole)
        try:
            _until_open(port, process, folder / "out.log")
            yield Peer(process.pid, port, folder, programs)
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(folder)


def _until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 2 * READY_LIMIT
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the peer did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


# PyKMIP: mutual TLS 1.2, the newest that it speaks


@contextmanager
def pykmip() -> Iterator[Peer]:
    programs = installed("pykmip")
    with _running("kmip", programs, partial(_kmip, programs)) as peer:
        yield peer


def _kmip(programs: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    certified(folder)
    (folder / "policy").mkdir()
    (folder / "server.conf").write_text(
        f"""[server]
hostname=127.0.0.1
port={port}
certificate_path={folder}/server.pem
key_path={folder}/server.key
ca_path={folder}/ca.pem
auth_suite=TLS1.2
policy_path={folder}/policy
enable_tls_client_auth=True
logging_level=WARNING
database_path={folder}/keys.db
"""
    )
    line = [str(programs / "pykmip-server"), "-f", str(folder / "server.conf")]
    return [*line, "-l", str(folder / "server.log")], {}


def kmip_line(peer: Peer) -> tuple[str, ...]:
    """The client program, under PyKMIP's own interpreter; the seconds come last."""
    pair = ("--certificate", f"{peer.folder}/client.pem", "--key", f"{peer.folder}/client.key")
    program = (str(peer.programs / "python"), str(HERE / "kmip_client.py"))
    return (*program, "--port", str(peer.port), "--ca", f"{peer.folder}/ca.pem", *pair, "--seconds")


def certified(folder: Path) -> None:
    """A CA for this run, and certificates of a server and of a client under it."""
    key = ec.generate_private_key(ec.SECP256R1())
    _certificate(folder, "ca", key, key, None)
    for name, use in (
        ("server", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        _certificate(folder, name, ec.generate_private_key(ec.SECP256R1()), key, use)


_LOCALHOST = x509.SubjectAlternativeName([x509.DNSName("localhost")])


def _certificate(
    folder: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca: ec.EllipticCurvePrivateKey,
    use: x509.ObjectIdentifier | None,
) -> None:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("ca"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(use is None, None), critical=True)
    )
    if use is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        builder = builder.add_extension(_LOCALHOST, critical=False)
    pem = builder.sign(ca, hashes.SHA256()).public_bytes(Encoding.PEM)
    (folder / f"{name}.pem").write_bytes(pem)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(secret)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


# Barbican: plain HTTP and no Keystone, which only makes it faster


@contextmanager
def barbican() -> Iterator[Peer]:
    programs = installed("barbican")
    begin = partial(_barbican, programs)
    with _running("barbican", programs, begin) as peer:
        yield peer


def _barbican(programs: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    (folder / "tokens").mkdir()
    (folder / ".barbican").mkdir()  # where it looks for its settings, in the home of its user
    environment = {"HOME": str(folder), "SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
    module = module_of(Pkcs11Uri(module_name="softhsm2"))
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    (folder / ".barbican/barbican.conf").write_text(_SETTINGS.format(**locals(), pin=PIN))
    paste = (programs.parent / "etc/barbican/barbican-api-paste.ini").read_text()
    (folder / "paste.ini").write_text(
        paste.replace("/v1: barbican-api-keystone", "/v1: barbican_api")
    )
    (folder / "wsgi.py").write_text(_PROGRAM.format(folder=folder))
    _prepare(programs, folder, module, {**os.environ, **environment})
    serve = [str(programs / "gunicorn"), "-w", "2", "-b", f"127.0.0.1:{port}", "wsgi:application"]
    return serve, environment


def _prepare(programs: Path, folder: Path, module: str, environment: dict[str, str]) -> None:
    """A token with the two keys that the plugin wants, and the tables."""
    pins = ("--pin", PIN, "--so-pin", PIN)
    token = ("softhsm2-util", "--init-token", "--free", "--label", "barbican", *pins)
    manage = (str(programs / "barbican-manage"),)
    with_module = ("--library-path", module, "--passphrase", PIN, "--length", "32")
    hmac = ("--key-type", "CKK_GENERIC_SECRET", "--mechanism", "CKM_GENERIC_SECRET_KEY_GEN")
    for line in (
        token,
        (*manage, "hsm", "gen_mkek", "--label", "mkek", *with_module),
        (*manage, "hsm", "gen_hmac", "--label", "hmac", *hmac, *with_module),
        (*manage, "db", "upgrade"),
    ):
        subprocess.run(line, check=True, env=environment, capture_output=True, cwd=folder)


_SETTINGS = """[DEFAULT]
host_href = http://127.0.0.1:{port}
log_file = {folder}/barbican.log
db_auto_create = False
[database]
connection = sqlite:///{folder}/barbican.db
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = p11_crypto
[p11_crypto_plugin]
library_path = {module}
token_labels = barbican
login = {pin}
mkek_label = mkek
mkek_length = 32
hmac_label = hmac
hmac_key_type = CKK_GENERIC_SECRET
hmac_keygen_mechanism = CKM_GENERIC_SECRET_KEY_GEN
encryption_mechanism = CKM_AES_GCM
key_wrap_mechanism = CKM_AES_KEY_WRAP_PAD
key_wrap_generate_iv = False
os_locking_ok = True
[queue]
enable = False
[keystone_authtoken]
auth_type = password
"""
# Its pipeline without Keystone reads a request id that nothing in it sets.
_PROGRAM = """from uuid import uuid4
from paste import deploy
_app = deploy.loadapp("config:{folder}/paste.ini")
def application(environ, start_response):
    environ.setdefault("webob.adhoc_attrs", {{}})["request_id"] = str(uuid4())
    return _app(environ, start_response)
"""
_HEADERS = {
    "Content-Type": "application/json",
    "X-Project-Id": "bench",
    "X-User-Id": "bench",
    "X-Roles": "member,reader,creator",
}
_ORDER = {
    "type": "key",
    "meta": {
        "name": "bench",
        "algorithm": "aes",
        "bit_length": 256,
        "mode": "cbc",
        "payload_content_type": "application/octet-stream",
    },
}


def order(line: http.client.HTTPConnection) -> None:
    """Order a key. Without a queue it is there when the answer comes."""
    line.request("POST", "/v1/orders", json.dumps(_ORDER), _HEADERS)
    answer = line.getresponse()
    body = answer.read()
    if answer.status != CREATED:
        raise SystemExit(f"Barbican answered an order with {answer.status}: {body[:200]!r}")

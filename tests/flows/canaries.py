"""Secrets that are in use, in every spelling in which they could leak, and everywhere to look."""

import base64
import zipfile

import psycopg

from tests.assessor import exported
from tests.stack import PASSPHRASE

SHORTEST = 6  # bytes: a shorter secret is found by chance


def secrets_of(stack):
    """PINs, passphrases and private keys of a service: what may stand in its own files alone."""
    folder = stack.settings.credentials
    pins = [path.read_bytes().strip() for path in folder.iterdir()]
    return [secret for secret in (PASSPHRASE, *pins) if len(secret) >= SHORTEST]


def spellings(secret):
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield secret.decode("latin-1").encode("utf-16-le")


def places(stack, bundle):
    """Every byte that others than the service's own user may come to see."""
    for path in stack.folder.rglob("*"):
        if path.is_file() and stack.settings.credentials not in path.parents:
            yield str(path.relative_to(stack.folder)), path.read_bytes()
    if not stack.settings.database.startswith("sqlite"):
        yield from _tables(stack.settings.database)
    with zipfile.ZipFile(bundle) as files:
        for name in files.namelist():
            yield name, files.read(name)


def _tables(url):
    """Each table of a PostgreSQL as it would be dumped: bytes stand there as hex."""
    with psycopg.connect(url.replace("+psycopg", "")) as line:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        for (name,) in line.execute(query).fetchall():
            with line.cursor().copy(f'COPY "{name}" TO STDOUT') as rows:
                yield name, b"".join(rows)


def assert_nowhere(stack, *secrets):
    """No secret is in database, logs, an export or the service's folder, in whatever form."""
    looked = list(places(stack, exported(stack)))
    assert len(looked) > 15
    assert found(looked, [secret for secret in secrets if len(secret) >= SHORTEST]) == []


def found(places_, secrets):
    return [
        (name, number)
        for name, content in places_
        for number, secret in enumerate(secrets)
        if any(spelling in content for spelling in spellings(secret))
    ]

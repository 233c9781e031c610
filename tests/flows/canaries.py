"""Secrets that are in use, in every spelling in which they could leak, and everywhere to look."""

import base64
import zipfile
from io import BytesIO
from pathlib import Path

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
    database = Path(stack.settings.database.removeprefix("sqlite:///"))
    for path in database.parent.glob(f"{database.name}*"):
        yield path.name, path.read_bytes()
    for path in stack.folder.glob("*.log"):
        yield path.name, path.read_bytes()
    with zipfile.ZipFile(BytesIO(bundle)) as files:
        for name in files.namelist():
            yield name, files.read(name)


def found(places_, secrets):
    return [
        (name, number)
        for name, content in places_
        for number, secret in enumerate(secrets)
        if any(spelling in content for spelling in spellings(secret))
    ]

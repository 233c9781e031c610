"""Webhooks: what is posted is signed, so that its receiver knows that it is ours."""

import hashlib
import hmac
import os
import time
from dataclasses import dataclass
from pathlib import Path

from keyvault.domain.errors import InvalidInputError
from keyvault.outside import Place
from keyvault.settings import Settings

SECRET_LIMIT = 4_096  # bytes


@dataclass(frozen=True)
class Hook:
    """A receiver and the key that it knows too.

    `Keyvault-Signature: t=<POSIX seconds>,v1=<HMAC-SHA256 in hex>` over `<t>.<body>`.
    """

    place: Place
    key: bytes

    def __repr__(self) -> str:
        return f"Hook({self.place.url!r})"

    def post(self, body: bytes) -> int:
        """Return the status. Raises `OSError` where no answer comes."""
        at = str(int(time.time()))
        signed = hmac.new(self.key, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        signature = f"t={at},v1={signed}"
        headers = {"Content-Type": "application/json", "Keyvault-Signature": signature}
        return self.place.post(body, headers)[0]


def secret(settings: Settings, name: str) -> bytes:
    """Read a file of the credentials folder, stripped. Raises `InvalidInputError`."""
    folder = settings.credentials or os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        data = (Path(folder or ".") / name).read_bytes().strip()
    except OSError as error:
        raise InvalidInputError(
            f"there is no credential {name}: {error.strerror}",
            next_step="put it in the credentials folder, in a file that only its owner reads",
        ) from error
    if not 0 < len(data) <= SECRET_LIMIT:
        raise InvalidInputError(f"credential {name} is empty or too long")
    return data

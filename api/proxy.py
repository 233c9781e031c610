"""RFC 9440: the client certificate that a reverse proxy of ours has seen, in a header.

Believed on one Unix socket, from the OS users that the settings name, and from nobody else:
whoever can send this header and is believed can be anybody.
"""

import ssl
from base64 import b64decode, b64encode
from functools import lru_cache

from keyvault.domain.errors import NotAuthenticatedError

PROXIED = "keyvault.proxied"  # in the TLS extension of a connection from the proxy
PROXY = "proxy"  # the source of what comes by its socket
LIMIT = 8_192  # bytes of a certificate in DER
CERTIFICATE, CHAIN = b"client-cert", b"client-cert-chain"
# With underscores they reach some programs as the same variable, so they are nobody's to send.
NAMES = frozenset({CERTIFICATE, CHAIN, b"client_cert", b"client_cert_chain"})


def forwarded(fields: list[tuple[bytes, bytes]]) -> str | None:
    """Read the certificate (PEM) out of these fields; None if the client showed none.

    Raises `NotAuthenticatedError` unless there is at most one, and it is an sf-binary of RFC 8941
    in its one spelling. The chain is ignored: issuers are pinned.
    """
    values = [value for name, value in fields if name == CERTIFICATE]
    if any(name not in (CERTIFICATE, CHAIN) for name, _ in fields) or len(values) > 1:
        raise _refused("the proxy let more than one Client-Cert through")
    return _pem(values[0]) if values else None


@lru_cache(maxsize=1024)
def _pem(value: bytes) -> str:
    if not value.startswith(b":") or not value.endswith(b":") or len(value) > LIMIT * 4 // 3 + 6:
        raise _refused("Client-Cert is not a byte sequence of RFC 8941, or too long")
    text = value[1:-1]
    try:
        der = b64decode(text, validate=True)
    except ValueError as error:
        raise _refused("Client-Cert is not base64") from error
    if not der or b64encode(der) != text:
        raise _refused("Client-Cert is not base64 in its one spelling")
    return ssl.DER_cert_to_PEM_cert(der)


def _refused(message: str) -> NotAuthenticatedError:
    return NotAuthenticatedError(message, next_step="see how the proxy sets its headers")

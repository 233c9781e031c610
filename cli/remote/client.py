"""HTTP over mutual TLS, with an Idempotency-Key on every call that writes."""

import os
import ssl
import time
from itertools import count
from pathlib import Path
from typing import IO, Annotated, Any, Self
from uuid import UUID, uuid4, uuid5

import httpx
import typer

from cli.errors import ProblemError, ServerUnreachableError
from cli.state import Session, open_session
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, NotFoundError

TIMEOUT = 60.0  # seconds; an HSM makes RSA keys at its leisure
LONG = 600.0  # seconds; a backup of many keys takes its time
PAUSES = (0.2, 0.8, 2.0)  # seconds before another try of a call that could not be delivered

ServerUrl = Annotated[
    str, typer.Option(metavar="URL", help="Such as https://keyvault.example:8443.")
]
CaFile = Annotated[
    Path, typer.Option(metavar="FILE", help="Certificate (PEM) that the server must chain to.")
]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Records in one answer.")]
After = Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on after this cursor.")]


# In the environment of a command that a ceremony runs: a UUID from which the Idempotency-Keys of
# its calls follow, so that a step which was cut off and is run again is not carried out twice.
CALLS = "KEYVAULT_CALLS"
_MADE = count()


class Server:
    """One server. Every method raises `ProblemError` or `ServerUnreachableError`."""

    def __init__(self, url: str, ca: Path, pair: tuple[Path, Path] | None = None) -> None:
        if not url.startswith("https://"):
            raise InvalidInputError(
                f"{url} is no URL of a server", next_step="write it like https://localhost:8443"
            )
        self._http = httpx.Client(
            base_url=url.rstrip("/"), verify=_context(ca, pair), timeout=TIMEOUT, trust_env=False
        )

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(session.server, session.ca, session.pair)

    def get(self, path: str, **query: object) -> Document:
        return _document(self._call("GET", path, query=query))

    def probe(self, path: str) -> tuple[int, Document]:
        """Status and body, whatever the status: for health, where 503 is an answer."""
        answer = self._delivered(self._http.build_request("GET", path))
        return answer.status_code, _document(answer)

    def get_bytes(self, path: str, **query: object) -> bytes:
        return self._call("GET", path, query=query).content

    def download(self, path: str, out: Path, **query: object) -> int:
        """Write an answer into a file as it comes, and return its size in bytes."""
        asked = {k: str(v) for k, v in query.items() if v is not None}
        size = 0
        with self._http.stream("GET", path, params=asked) as answer:
            if not answer.is_success:
                answer.read()
                raise _problem(answer)
            with out.open("wb") as file:
                for part in answer.iter_bytes():
                    size += file.write(part)
        return size

    def post(self, path: str, body: Document | None = None) -> Document:
        """Write something. A try that got lost is repeated under the same Idempotency-Key."""
        return _document(self._call("POST", path, body=body or {}))

    def post_for_bytes(self, path: str, body: Document) -> bytes:
        return self._call("POST", path, body=body).content

    def post_to(self, path: str, body: Document, out: IO[bytes]) -> httpx.Headers:
        """Write the answer's bytes to a file as they come, whatever their number."""
        headers = {"Idempotency-Key": str(uuid4())}
        request = self._http.build_request("POST", path, json=body, headers=headers)
        request.extensions["timeout"] = httpx.Timeout(LONG).as_dict()
        try:
            answer = self._http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
                raise _problem(answer)
            for part in answer.iter_bytes():
                out.write(part)
        except httpx.TransportError as error:
            raise ServerUnreachableError(
                f"the answer was cut off: {error}", next_step="look whether it happened, then again"
            ) from error
        return answer.headers

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, object] | None = None,
        body: Document | None = None,
    ) -> httpx.Response:
        asked = {k: str(v) for k, v in (query or {}).items() if v is not None}
        headers = {} if method == "GET" else {"Idempotency-Key": _next_key()}
        request = self._http.build_request(method, path, params=asked, json=body, headers=headers)
        answer = self._delivered(request)
        if answer.is_success:
            return answer
        raise _problem(answer)

    def _delivered(self, request: httpx.Request) -> httpx.Response:
        for pause in PAUSES:
            try:
                return self._http.send(request)
            except httpx.ConnectError as error:
                if isinstance(error.__cause__ and error.__cause__.__cause__, ssl.SSLError):
                    break
            except httpx.TransportError:
                pass
            time.sleep(pause)
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            raise ServerUnreachableError(
                f"no answer from {request.url.host}:{request.url.port}: "
                + str(error).rpartition("] ")[2],  # without the number that the system gives it
                next_step="see that it is up, that --ca is its certificate, and that your own"
                " certificate has not expired",
            ) from error


def connect(session: Path | None) -> Server:
    """The server of the session kept in a folder."""
    return Server.of(open_session(session))


def _next_key() -> str:
    seed = os.environ.get(CALLS)
    return str(uuid5(UUID(seed), str(next(_MADE)))) if seed else str(uuid4())


def _context(ca: Path, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    for path in (ca, *(pair or ())):
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}")
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError as error:
        raise InvalidInputError(f"{ca} holds no certificate in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if pair:
        _show(context, *pair)
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(str(certificate), str(key), password=_no_password)
    except ssl.SSLError as error:
        raise InvalidInputError(
            f"{certificate} and {key} are not a certificate and its key, both in PEM"
        ) from error


def _no_password() -> str:
    # OpenSSL would ask on the terminal by itself, in the middle of a script.
    raise InvalidInputError("the client key is encrypted", next_step="give a key that is not")


def _document(answer: httpx.Response) -> Document:
    if not answer.content:
        return {}
    value: Any = answer.json()
    return value if isinstance(value, dict) else {"items": value}


def _problem(answer: httpx.Response) -> ProblemError:
    try:
        body = _document(answer)
    except ValueError:
        body = {}
    message = str(body.get("detail") or body.get("title") or f"HTTP {answer.status_code}")
    return ProblemError(
        str(body.get("code", "vault-error")),
        answer.status_code,
        message,
        str(body.get("next_step", "")),
    )

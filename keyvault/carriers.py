"""Ways by which notices reach people: mail over SMTP, and a signed webhook.

Both speak to the servers that the settings name, follow nobody elsewhere, and give up in seconds.
"""

import hashlib
import hmac
import json
import os
import smtplib
import ssl
import time
from collections.abc import Sequence
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notices import Carrier, CarrierError, Notice
from keyvault.domain.times import text_of
from keyvault.settings import MailSettings, Settings, WebhookSettings

PATIENCE = 10.0  # seconds
SECRET_LIMIT = 4_096  # bytes


class Mail:
    """RFC 5321, with STARTTLS (RFC 3207) unless the server is on this host."""

    name = "mail"

    def __init__(self, settings: MailSettings, site: str, password: str) -> None:
        self._settings = settings
        self._site = site
        self._password = password

    def reaches(self, person: str) -> bool:
        return person in self._settings.addresses

    def send(self, notice: Notice, person: str) -> None:
        message = EmailMessage()
        message["From"] = self._settings.sender
        message["To"] = self._settings.addresses[person]
        message["Subject"] = f"[{self._site}] {notice.subject}"
        message.set_content(f"{notice.text}\n")
        try:
            with smtplib.SMTP(self._settings.host, self._settings.port, timeout=PATIENCE) as line:
                self._secure(line)
                line.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise CarrierError(
                f"the mail server does not take it: {type(error).__name__}"
            ) from error

    def _secure(self, line: smtplib.SMTP) -> None:
        if not _is_here(self._settings.host):
            line.starttls(context=ssl.create_default_context())
        if self._settings.user:
            line.login(self._settings.user, self._password)


class Webhook:
    """One POST of JSON for each notice and person, signed so that its receiver knows it is ours.

    `Keyvault-Signature: t=<POSIX seconds>,v1=<HMAC-SHA256 in hex>` over `<t>.<body>`.
    """

    name = "webhook"

    def __init__(self, settings: WebhookSettings, site: str, key: bytes) -> None:
        self._url = urlsplit(settings.url)
        self._ca = settings.ca
        self._site = site
        self._key = key
        here = self._url.hostname is not None and _is_here(self._url.hostname)
        if self._url.scheme != "https" and not (here and self._url.scheme == "http"):
            raise InvalidInputError("a webhook off this host has an https URL")

    def reaches(self, person: str) -> bool:  # noqa: ARG002  (one receiver for everybody)
        return True

    def send(self, notice: Notice, person: str) -> None:
        body = json.dumps(
            {
                "site": self._site,
                "key": notice.key,
                "person": person,
                "subject": notice.subject,
                "text": notice.text,
                "due": text_of(notice.due),
            }
        ).encode()
        try:
            status = self._post(body)
        except (OSError, HTTPException) as error:
            raise CarrierError(f"the webhook is away: {type(error).__name__}") from error
        if status not in range(200, 300):  # a redirect is not followed: it leads elsewhere
            raise CarrierError(f"the webhook answered {status}")

    def _post(self, body: bytes) -> int:
        line = self._line()
        try:
            path = self._url.path or "/"
            query = f"?{self._url.query}" if self._url.query else ""
            line.request("POST", path + query, body, self._headers(body))
            return line.getresponse().status
        finally:
            line.close()

    def _line(self) -> HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return HTTPConnection(host, port, timeout=PATIENCE)
        context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
        return HTTPSConnection(host, port, timeout=PATIENCE, context=context)

    def _headers(self, body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        signed = hmac.new(self._key, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "Keyvault-Signature": f"t={at},v1={signed}",
        }


def carriers(settings: Settings) -> Sequence[Carrier]:
    """Every channel that the settings name. Raises `InvalidInputError`."""
    found: list[Carrier] = []
    if mail := settings.notices.mail:
        password = _secret(settings, "smtp").decode() if mail.user else ""
        found.append(Mail(mail, settings.site, password))
    if webhook := settings.notices.webhook:
        found.append(Webhook(webhook, settings.site, _secret(settings, "webhook")))
    return found


def _secret(settings: Settings, name: str) -> bytes:
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


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

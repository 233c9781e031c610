"""Ways by which notices reach people: mail over SMTP, and a signed webhook.

Both speak to the servers that the settings name, follow nobody elsewhere, and give up in seconds.
"""

import json
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage

from keyvault.domain.notices import Carrier, CarrierError, Notice
from keyvault.domain.times import text_of
from keyvault.outside import Place, is_here
from keyvault.settings import MailSettings, Settings, WebhookSettings
from keyvault.webhooks import Hook, secret

PATIENCE = 10.0  # seconds


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
        if not is_here(self._settings.host):
            line.starttls(context=ssl.create_default_context())
        if self._settings.user:
            line.login(self._settings.user, self._password)


class Webhook:
    """One signed POST of JSON for each notice and person."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, site: str, key: bytes) -> None:
        self._hook = Hook(Place(settings.url, settings.ca, PATIENCE), key)
        self._site = site

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
            status = self._hook.post(body)
        except OSError as error:
            raise CarrierError(f"the webhook is away: {type(error).__name__}") from error
        if status not in range(200, 300):  # a redirect is not followed: it leads elsewhere
            raise CarrierError(f"the webhook answered {status}")


def carriers(settings: Settings) -> Sequence[Carrier]:
    """Every channel that the settings name. Raises `InvalidInputError`."""
    found: list[Carrier] = []
    if mail := settings.notices.mail:
        password = secret(settings, "smtp").decode() if mail.user else ""
        found.append(Mail(mail, settings.site, password))
    if webhook := settings.notices.webhook:
        found.append(Webhook(webhook, settings.site, secret(settings, "webhook")))
    return found

"""Settings, read once from one TOML file. No secret stands in it: PINs come from elsewhere."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from keyvault.domain.commands import COMMANDS
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.retention import DAYS, Retention


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def numbered(path: Path, number: int) -> Path:
    """Where the n-th worker listens: beside the first, its number before the suffix."""
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


class ModuleSettings(_Strict):
    """One PKCS#11 token behind one gate, or behind several of the same host."""

    uri: str  # RFC 7512, without a PIN
    socket: Path  # where its gate listens
    pin: str = ""  # name of the file in the credentials directory; empty: prompt or descriptor
    deadline: Annotated[float, Field(gt=0, le=600)] = 10.0  # seconds a call may take
    cache: Annotated[int, Field(gt=0)] = 4096  # unwrapped keys held at once
    level: Annotated[int, Field(ge=0, le=4)] = 0  # of FIPS 140, as its certificate says
    location: str = ""  # where the module stands, as registers say it, such as "UK, Leeds"
    owner: str = ""  # who answers for it
    foreign: tuple[
        Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")], ...
    ] = ()  # CKA_IDs, not ours
    callers: tuple[str, ...] = ()  # OS users that its gate answers, beside the gate's own
    environment: dict[str, str] = {}  # for the module alone, such as SOFTHSM2_CONF
    workers: Annotated[int, Field(ge=1, le=64)] = 1  # gates side by side; of `keys` alone

    @property
    def sockets(self) -> tuple[Path, ...]:
        """Where its gates listen; the first is the one that acts on keys."""
        return tuple(numbered(self.socket, number) for number in range(1, self.workers + 1))

    def socket_of(self, worker: int) -> Path:
        """Where one of them listens, counted from 1. Raises `InvalidInputError`."""
        if not 1 <= worker <= self.workers:
            raise InvalidInputError(
                f"these settings have {self.workers} of this gate, and no number {worker}",
                next_step="raise keys.workers, or start fewer of them",
            )
        return numbered(self.socket, worker)


class Rate(_Strict):
    """A token bucket."""

    per_second: Annotated[float, Field(gt=0, le=1_000_000)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)]


class RateSettings(_Strict):
    """Calls that each api process takes; a call with many digests is one."""

    certificate: Rate = Rate(per_second=10_000, burst=20_000)  # without one: an address
    scope: Rate = Rate(per_second=20_000, burst=40_000)  # all systems of it together


class ProxySettings(_Strict):
    """A reverse proxy on this host that shakes hands for us and sends Client-Cert (RFC 9440)."""

    socket: Path  # of the first worker; the others' have their number before the suffix
    users: Annotated[tuple[str, ...], Field(min_length=1)]  # OS users that it may run as


class ApiSettings(_Strict):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    certificate: Path
    private_key: Path
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    body_limit: int = 1_048_576  # bytes
    session_hours: Annotated[int, Field(ge=1, le=24)] = 8
    rates: RateSettings = RateSettings()
    proxy: ProxySettings | None = None


class WitnessSettings(_Strict):
    """Outside witnesses, and how long is waited for them."""

    policy: Path  # c2sp.org/tlog-policy: who they are, where, and how many are enough
    ca: Path | None = None  # PEM, for witnesses at https; the system's authorities if not given
    interval: Annotated[float, Field(gt=0, le=3600)] = 1.0  # seconds between two checkpoints
    # Acts whose intent has to be witnessed before a device acts: names of commands, or
    # "authority" for every change of it; none for never.
    wait_for: tuple[str, ...] = ("import-key", "export-key", "destroy-key", "authority")
    wait: Annotated[float, Field(gt=0, le=300)] = 15.0  # seconds
    alarm_after: Annotated[float, Field(gt=0)] = 900.0  # seconds without a quorum

    @field_validator("wait_for")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a slip of the pen, which would quietly let an act go ahead."""
        unknown = sorted(set(names) - {*COMMANDS, "authority"})
        if unknown:
            raise ValueError(f"no command is called {', '.join(unknown)}")
        return names


class AuthoritySettings(_Strict):
    """A time stamping authority (RFC 3161), and what its tokens are checked against."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")]
    url: str
    ca: Path  # PEM: the roots that its certificate leads to
    certificate: Path | None = None  # PEM: the one certificate that may sign, if pinned
    policy: str = ""  # OID that tokens have to name, if any
    tls_ca: Path | None = None  # PEM, for https; the system's authorities if not given
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0  # seconds


class TimeSettings(_Strict):
    """Who says what time it is, beside this host's own clock."""

    authorities: Annotated[tuple[AuthoritySettings, ...], Field(max_length=8)] = ()
    interval: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0  # seconds between two stamps
    look: Annotated[float, Field(gt=0, le=3_600)] = 15.0  # seconds between two looks at the clock
    tolerance: Annotated[float, Field(gt=0, le=30)] = 2.0  # seconds


class MailSettings(_Strict):
    """Where mail goes. Off this host it is encrypted (STARTTLS), whatever the server would take."""

    host: str
    port: Annotated[int, Field(gt=0, le=65535)] = 25
    sender: str
    user: str = ""  # its password is the file `smtp` of the credentials folder
    addresses: dict[str, str] = {}  # of each person, by id


class WebhookSettings(_Strict):
    """A URL that gets every notice, signed with the key in the file `webhook` of credentials."""

    url: str
    ca: Path | None = None


class SyslogTarget(_Strict):
    """A receiver of syslog over TLS (RFC 5425)."""

    host: str
    port: Annotated[int, Field(gt=0, le=65_535)] = 6514
    ca: Path | None = None  # PEM; the system's authorities if not given
    certificate: Path | None = None  # PEM: a client certificate, where the receiver wants one
    private_key: Path | None = None


class FileTarget(_Strict):
    path: Path
    limit: Annotated[int, Field(ge=1_024)] = 67_108_864  # bytes after which a new one is begun
    keep: Annotated[int, Field(ge=1, le=1_000)] = 10  # full ones


class SinkSettings(_Strict):
    """A stream of copies of events, and what of them it takes. It changes nothing of the log."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    types: tuple[str, ...] = ()  # such as KEY.* or AUTH.FAILED; none is all
    outcomes: tuple[str, ...] = ()
    payload: bool = False  # what events say, beside their headers
    alarm_after: Annotated[float, Field(gt=0)] = 300.0  # seconds that it may be behind
    syslog: SyslogTarget | None = None
    webhook: WebhookSettings | None = None
    file: FileTarget | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if sum(end is not None for end in (self.syslog, self.webhook, self.file)) != 1:
            raise ValueError(f"stream {self.name} needs one of syslog, webhook and file")
        return self


class NoticeSettings(_Strict):
    interval: Annotated[float, Field(gt=0, le=3600)] = 15.0  # seconds
    mail: MailSettings | None = None
    webhook: WebhookSettings | None = None


class AuditSettings(_Strict):
    """How often the log is looked after."""

    check_every: Annotated[float, Field(gt=0, le=366)] = 7.0  # days between two whole checks
    heartbeat: Annotated[float, Field(gt=0, le=86_400)] = 60.0  # seconds
    # Days that payloads are kept, by class; what is not named here keeps its default.
    retention: dict[Retention, Annotated[int, Field(ge=0, le=36_525)]] = {}

    def days(self, retention: Retention) -> int:
        return self.retention.get(retention, DAYS[retention])


class CertificateSettings(_Strict):
    """What the authority's procedures say about time; check both against them."""

    decide_within: Annotated[float, Field(gt=0, le=8_760)] = 24.0  # hours from receipt
    alarm_before: Annotated[float, Field(ge=0, le=8_760)] = 6.0  # hours before that
    alone_a_day: Annotated[int, Field(gt=0, le=1_000_000)] = 150  # requests of a party in no batch
    gap: Annotated[float, Field(ge=0, le=60)] = 0.8  # seconds between two requests of a batch


class StationSettings(_Strict):
    """A place where tokens are made. `trusted`: a maker's command may carry a key through it."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    trusted: bool = False


class IssuingSettings(_Strict):
    """Keys, stations and models for personalising tokens. Keys are named by their ids."""

    masters: tuple[str, ...] = ()  # AES-256, of management keys, the oldest first
    seal: str = ""  # AES-256, of PINs and PUKs
    signer: str = ""  # of what cards say of themselves, certified by `ca certify-signer`
    profiles: Path | None = None  # TOML: models of cards beside those that come with the program
    stations: tuple[StationSettings, ...] = ()
    attesters: Path | None = None  # PEM: makers whose word counts on where a key was made
    idle: Annotated[float, Field(gt=0, le=600)] = 60.0  # seconds a desk may be silent
    traces: Annotated[int, Field(ge=1, le=3650)] = 400  # days that a session's exchanges are kept
    # Seconds without its reader, or without a word, that a station with an unfinished job may be.
    alarm_after: Annotated[float, Field(ge=10, le=86_400)] = 120.0


class CaSettings(_Strict):
    """Where the status of certificates of our own CA is told, and how long an answer counts."""

    url: str = ""  # written into certificates, as http://pki.example/v1/ca; nothing if empty
    list_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    answer_hours: Annotated[float, Field(gt=0, le=720)] = 4.0  # of OCSP without a nonce


class Settings(_Strict):
    """Everything a process needs to know. Paths are relative to the folder of the file."""

    site: str
    origin: str  # of the log: <site>/<log>/<year>-<epoch>
    node: str
    database: str  # SQLAlchemy URL
    state: Path  # a folder of the gate's own, for what it must not forget
    genesis: str = ""  # SHA-256 of the genesis record, hex: what the gate trusts
    recorder: Path  # socket
    credentials: Path | None = None  # folder of PIN files, 0600; systemd's if not given
    keys: ModuleSettings
    log: ModuleSettings
    # A second token, which backups are restored into: kept in step, or thrown away after a drill.
    # Its gate shares the folder `state`, so that it can take the place of `keys` at any time.
    spare: ModuleSettings | None = None
    api: ApiSettings
    accept_published_keys: bool = False  # a sandbox's peers, whose private keys anybody can read
    seal_interval: Annotated[float, Field(gt=0, le=60)] = 0.25  # seconds
    reconcile_within: Annotated[int, Field(ge=1, le=366)] = 31  # days between two reconciliations
    certificates: CertificateSettings = CertificateSettings()
    ca: CaSettings = CaSettings()
    notices: NoticeSettings = NoticeSettings()
    audit: AuditSettings = AuditSettings()
    issuing: IssuingSettings = IssuingSettings()
    witnesses: WitnessSettings | None = None
    time: TimeSettings | None = None
    streams: Annotated[tuple[SinkSettings, ...], Field(max_length=16)] = ()
    # Where the sealer also writes the newest checkpoint: another disk, which no restored
    # database brings back. What it says is demanded at every start.
    anchor: Path | None = None

    @model_validator(mode="after")
    def _alone(self) -> Self:
        if self.log.workers > 1 or (self.spare is not None and self.spare.workers > 1):
            raise ValueError("only [keys] has workers: the log and the spare have one gate each")
        return self

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Read and check a file. Raises `InvalidInputError` with the line that is wrong."""
        try:
            raw = tomllib.loads(path.read_text())
            settings = cls.model_validate(raw)
        except OSError as error:
            raise InvalidInputError(
                f"cannot read {path}: {error.strerror}", next_step="run: keyvault init"
            ) from error
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise InvalidInputError(f"{path}: {error}") from error
        return settings.anchored(path.resolve().parent)

    def anchored(self, folder: Path) -> "Settings":
        """Make every relative path start at `folder`, the database's too."""
        led: Settings = _led(self, folder)
        place = self.database.removeprefix("sqlite:///")
        if place == self.database or place.startswith("/"):
            return led
        return led.model_copy(update={"database": f"sqlite:///{folder / place}"})


def _led(value: Any, folder: Path) -> Any:
    """Return the value with every relative path in it made to start at `folder`.

    A text of an environment is a path if it begins with "./", since most are none.
    """
    match value:
        case Path():
            return folder / value
        case BaseModel():
            return value.model_copy(update={name: _led(one, folder) for name, one in value})
        case tuple():
            return tuple(_led(one, folder) for one in value)
        case dict():
            return {name: _place(one, folder) for name, one in value.items()}
        case _:
            return value


def _place(value: object, folder: Path) -> object:
    if not isinstance(value, str) or not value.startswith("./"):
        return value
    return str(folder / value.removeprefix("./"))

"""Logs and figures for operators. Logs are not audit: no body, no digest, no error's message.

A line says which request, which route, who, how it ended and how long it took. Successful uses
of keys are not logged one by one, since the audit log has them: they are counted.
"""

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.names import PRINCIPAL, REQUEST_ID, TEMPLATE
from keyvault.domain.certificates import CertificateState
from keyvault.domain.quorums import Quorum
from keyvault.domain.stations import StationState
from keyvault.operations.expiry import Watch
from keyvault.operations.figures import Figures
from keyvault.operations.stations import Outlook

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
LOST = "unmatched"


def configure_logging(level: int = logging.INFO) -> None:
    """Write JSON lines to standard error, the framework's own warnings among them."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = _Forward()
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


class _Forward(logging.Handler):
    """A library's warning: where it comes from and its fixed text, never what was put into it."""

    def emit(self, record: logging.LogRecord) -> None:
        text = str(record.msg).partition("\n")[0]
        trace_of = _trace_of(record.exc_info)
        structlog.get_logger().warning("library", logger=record.name, text=text, **trace_of)


def _trace_of(info: Any) -> dict[str, Any]:
    return trace(info[1]) if info and info[1] is not None else {}


def trace(error: BaseException) -> dict[str, Any]:
    """Say what failed and where, without the message: it may quote what a caller sent."""
    kinds = [type(link).__name__ for link in _chain(error)]
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]
    return {"error": " < ".join(kinds), "where": where}


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


class Telemetry:
    """The figures of one process, and its request log."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._log = structlog.get_logger()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "keyvault_requests", "Answers by route and status", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "keyvault_request_seconds", "Time to answer by route", ("method", "route"),
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        count = partial(Counter, registry=self.registry)
        self.connections_refused = count("keyvault_connections_refused", "Handshakes refused")
        self.logins_failed = count("keyvault_logins_failed", "Logins refused")
        self.lockouts = count("keyvault_lockouts", "Identities locked for a while")
        self.rate_limited = count("keyvault_rate_limited", "Calls beyond a rate")
        self.overloaded = count("keyvault_overloaded", "Calls refused by a full process")
        self._cells: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def served(self, scope: Any, status: int, seconds: float) -> None:
        """Count one answer, and log it unless it is a use that went well."""
        method, route = _method(scope), _template(scope)
        cell = self._cells.get((method, route, status))
        if cell is None:
            cell = self._cells[method, route, status] = self._cell(method, route, status)
        cell[0].inc()
        cell[1].observe(seconds)
        if status >= 400 or TEMPLATE not in scope:  # noqa: PLR2004  (client and server errors)
            self._log.info("request", **self._line(scope, route, status, seconds))

    def failed(self, scope: Any, error: BaseException) -> None:
        """Log what the caller was not told."""
        self._log.error("failure", request_id=scope.get(REQUEST_ID, ""), **trace(error))

    def _cell(self, method: str, route: str, status: int) -> tuple[Any, Any]:
        return (
            self._requests.labels(method, route, str(status)),
            self._seconds.labels(method, route),
        )

    def _line(self, scope: Any, route: str, status: int, seconds: float) -> dict[str, Any]:
        who = scope.get(PRINCIPAL)
        return {
            "request_id": scope.get(REQUEST_ID, ""),
            "method": _method(scope),
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "actor": who.actor if who is not None else "",
        }

    def exposition(self) -> bytes:
        """Write all figures in the Prometheus text format."""
        return generate_latest(self.registry)


def _template(scope: Any) -> str:
    template: str | None = scope.get(TEMPLATE)
    if template is not None:
        return template
    return getattr(scope.get("route"), "path_format", LOST)  # as it is documented


def _method(scope: Any) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "OTHER"


_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


# Name, text, and the labels if it has any.
_GAUGES = (
    ("gate_up", "1 if the gate of the keys answers; of several the first, which acts on keys"),
    ("gate_worker_up", "1 if this one of the keys' gates answers", "worker"),
    ("log_events", "Events in the log"),
    ("log_sealed", "Events under the newest checkpoint"),
    ("checkpoint_lag", "Events that no checkpoint covers yet"),
    ("log_witnessed", "Events under a checkpoint cosigned by the witnesses' quorum"),
    ("keys", "Keys by state", "state"),
    ("tokens", "Tokens by state", "state"),
    ("list_age_seconds", "Age of the newest list of what an authority revoked", "authority"),
    ("list_left_seconds", "How long that list still counts", "authority"),
    ("witness_lag", "Events not cosigned yet", "witness"),
    ("witness_up", "0 if it is silent or refuses", "witness"),
    ("certificates", "Ours by state", "state"),
    ("certificates_undecided", "Neither accepted nor rejected: in time, urgent, overdue", "due"),
    ("certificates_ending", "Ours and others' that end within so many days", "days"),
    ("register_drift", "Findings in the newest reconciliation of register and tokens"),
    ("register_reconciled", "When it was taken, in seconds since 1970"),
    ("register_overdue", "1 if nobody has reconciled within the time that is set"),
    ("shares_overdue", "Shares of backup keys that nobody confirmed for long"),
    ("drill_overdue", "1 if there is a backup and none was restored in a drill for long"),
    ("station_ready", "1 if its reader is there and its desk is heard", "station"),
    ("station_alarm", "1 if it keeps a job waiting, without its reader or silent", "station"),
    ("station_heard", "When it was last heard, in seconds since 1970", "station"),
    ("quorum_able", "People who can sign under a rule now", "rule"),
    ("quorum_needed", "Signatures that it takes", "rule"),
    ("quorum_margin", "People who may fall away; below 0 it breaks", "rule", "days"),
)


class Gauges:
    """Figures that are read when somebody asks: the state of gate, log and keys."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"keyvault_{name}", text, labels, registry=registry)
            for name, text, *labels in _GAUGES
        }

    def show(self, figures: Figures) -> None:
        """Take over what was just read."""
        self._show_gates(figures.gates_up)
        self._gauges["log_events"].set(figures.log_events)
        self._gauges["log_sealed"].set(figures.log_sealed)
        self._gauges["checkpoint_lag"].set(figures.log_events - figures.log_sealed)
        self._gauges["log_witnessed"].set(figures.log_witnessed)
        for witness in figures.witnesses:
            self._gauges["witness_lag"].labels(witness.name).set(
                figures.log_events - witness.cosigned
            )
            self._gauges["witness_up"].labels(witness.name).set(not witness.trouble)
        for state, count in figures.keys.items():
            self._gauges["keys"].labels(str(state)).set(count)
        self._gauges["register_drift"].set(figures.reconciled.findings)
        self._gauges["register_reconciled"].set(figures.reconciled.since.timestamp())
        self._gauges["register_overdue"].set(figures.reconciled.overdue)
        self._show_certificates(figures.certificates)
        self._gauges["shares_overdue"].set(len(figures.backups.shares))
        self._gauges["drill_overdue"].set(figures.backups.drill_overdue)
        self._show_quorums(figures.quorums)
        for each in figures.lists:
            self._gauges["list_age_seconds"].labels(each.name).set(each.age)
            self._gauges["list_left_seconds"].labels(each.name).set(each.left)
        self._show_tokens(figures.tokens, figures.desks)

    def _show_gates(self, up: Sequence[bool]) -> None:
        self._gauges["gate_up"].set(up[0])
        for number, answers in enumerate(up, 1):
            self._gauges["gate_worker_up"].labels(str(number)).set(answers)

    def _show_tokens(self, tokens: Mapping[str, int], stations: Iterable[Outlook]) -> None:
        for state, held in tokens.items():
            self._gauges["tokens"].labels(state).set(held)
        for one in stations:
            name = one.settings.name
            self._gauges["station_ready"].labels(name).set(one.shown == StationState.READY)
            self._gauges["station_alarm"].labels(name).set(bool(one.alarm))
            if one.said is not None:
                self._gauges["station_heard"].labels(name).set(one.said.heard_at.timestamp())

    def _show_quorums(self, quorums: Iterable[Quorum]) -> None:
        for name in ("quorum_able", "quorum_needed", "quorum_margin"):
            self._gauges[name].clear()  # a rule that was removed is gone here, too
        for quorum in quorums:
            rule, now = quorum.rule.id, quorum.outlooks[0]
            self._gauges["quorum_able"].labels(rule).set(len(now.able))
            self._gauges["quorum_needed"].labels(rule).set(quorum.needed)
            for outlook in quorum.outlooks:
                days = str((outlook.at - now.at).days)
                self._gauges["quorum_margin"].labels(rule, days).set(outlook.margin)

    def _show_certificates(self, watch: Watch) -> None:
        for state in CertificateState:
            self._gauges["certificates"].labels(str(state)).set(watch.states.get(state, 0))
        for due in ("undecided", "urgent", "overdue"):
            self._gauges["certificates_undecided"].labels(due).set(getattr(watch, due))
        for days, count in watch.ending.items():
            self._gauges["certificates_ending"].labels(str(days)).set(count)

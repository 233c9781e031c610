"""What counts of a person's rights, what is dormant and why, and what leaves with them."""

from collections.abc import Iterable

from cli.remote.screens import Pairs
from keyvault.domain.canonical import Document
from keyvault.domain.people import EVERYWHERE


def about_grants(grants: Iterable[Document]) -> Pairs:
    """Every role that was granted; of one that is dormant, why, and what to do next."""
    return [(f"role {grant['role']}", _grant(grant)) for grant in grants]


def _grant(grant: Document) -> list[str]:
    lines = [f"{_where(grant)} until {grant['until']}"]
    for lapse in grant["lapses"]:
        since = f" since {lapse['since']}" if lapse["since"] else ""
        lines.append(f"DORMANT{since}: {lapse['text']}; {lapse['next_step']}")
    return lines


def about_leaving(report: Document) -> Pairs:
    """What is hurt if somebody leaves. What is not hurt is said too: nothing was forgotten."""
    quorums = [
        f"rule {q['rule']}: {q['margin']} may fall away now, {q['margin_after']} then"
        + (" (BREAKS)" if q["margin_after"] < 0 <= q["margin"] else "")
        for q in report["quorums"]
    ]
    alone = [f"nobody else is {one['role']} for {_where(one)}" for one in report["orphaned"]]
    refused = [("cannot be done", report["refused"])] if report["refused"] else []
    return [
        ("person", f"{report['name']} ({report['person']})"),
        *refused,
        ("quorums", quorums or "none of them"),
        ("left alone", alone or "no scope"),
        ("reporting to them", report["reports"] or "nobody"),
        ("sessions that end", report["sessions"]),
        ("shares they hold", _shares(report) or "none"),
        ("their open requests", report["asked"] or "none"),
        ("requests they signed", report["signed"] or "none"),
        ("keys they ordered", _keys(report)),
    ]


def _keys(report: Document) -> list[str]:
    more = report["keys_count"] - len(report["keys"])
    return [*report["keys"], f"and {more} more"] if more else report["keys"] or ["none"]


def _where(grant: Document) -> str:
    return "everywhere" if grant["scope"] == EVERYWHERE else str(grant["scope"])


def _shares(report: Document) -> list[str]:
    return [f"share {one['number']} of {one['backup_key']}" for one in report["shares"]]

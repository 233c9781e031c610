"""The tables of issuing jobs and of stations, beside those of `tables`."""

from sqlalchemy import Column, ForeignKey, Index, Table

from keyvault.store.tables import METADATA, _number, _text

issue_job = Table(
    "issue_job",
    METADATA,
    _text("id", key=True),
    Column("token_id", ForeignKey("token.id"), nullable=False),
    *map(_text, ("batch", "kind", "step", "standing", "station", "actor", "facts")),
    *map(_number, ("version", "resumes", "created_at", "changed_at")),
)
Index(None, issue_job.c.token_id)
Index(None, issue_job.c.created_at, issue_job.c.id)
issue_trace = Table(
    "issue_trace",
    METADATA,
    _text("id", key=True),
    Column("job_id", ForeignKey("issue_job.id"), nullable=False),
    _text("lines"),
    *map(_number, ("exchanges", "began_at")),
)
Index(None, issue_trace.c.job_id, issue_trace.c.began_at)
Index(None, issue_trace.c.began_at)
for _filter in ("standing", "batch"):
    Index(None, issue_job.c[_filter], issue_job.c.created_at, issue_job.c.id)

# The last word of each station. Its history is in the log.
station = Table(
    "station",
    METADATA,
    _text("name", key=True),
    *map(_text, ("state", "reader", "person", "alarm")),
    *map(_number, ("since", "heard_at")),
)

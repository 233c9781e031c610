"""The table of issuing jobs, beside those of `tables`."""

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
for _filter in ("standing", "batch"):
    Index(None, issue_job.c[_filter], issue_job.c.created_at, issue_job.c.id)

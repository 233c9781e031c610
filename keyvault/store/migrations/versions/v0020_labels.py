"""Indexes of labels that hold what else a key is searched by, in the place of narrower ones."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_BY = ("label",), ("scope", "label")
_ORDER = ("created_at", "id")
_MORE = (*_ORDER, "state", "algorithm")


def upgrade() -> None:
    _replace(_ORDER, _MORE)


def downgrade() -> None:
    _replace(_MORE, _ORDER)


def _replace(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    for by in _BY:
        op.create_index(_name(*by, *new), "key", [*by, *new])
        op.drop_index(_name(*by, *old), "key")


def _name(*columns: str) -> str:
    return f"ix_key_{'_'.join(columns)}"

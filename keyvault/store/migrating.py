"""Running the migrations from inside the program: no configuration file, no second address.

Every process asks at its start whether the tables are current; Alembic, which takes longer to load
than to answer, is for those that change them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, column, inspect, select, table

from keyvault.store.engine import reading, writing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_SCRIPTS = Path(__file__).parent / "migrations"
_VERSION = table("alembic_version", column("version_num"))


def migrate(engine: Engine, revision: str) -> None:
    """Bring the tables to a revision, forward or back; "base" is an empty database."""
    from alembic import command  # noqa: PLC0415  (see above)
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  (see above)
    from alembic.script import ScriptDirectory  # noqa: PLC0415  (see above)

    config = _config()
    script = ScriptDirectory.from_config(config)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision()
        older = _is_older(script, revision, current)
        (command.downgrade if older else command.upgrade)(config, revision)
        connection.commit()


def version(engine: Engine) -> str | None:
    """Return the revision of the tables, or None for a database without any."""
    with reading(engine) as connection:
        if not inspect(connection).has_table(_VERSION.name):
            return None
        revision: str | None = connection.scalar(select(_VERSION.c.version_num))
        return revision


def newest() -> str:
    """Return the newest revision that this program knows: v0016_callers.py is 0016."""
    return max(path.name[1:5] for path in (_SCRIPTS / "versions").glob("v[0-9]*.py"))


def is_current(engine: Engine) -> bool:
    """Whether the tables are at the newest revision."""
    return version(engine) == newest()


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415  (see above)

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _is_older(script: "ScriptDirectory", wanted: str, current: str | None) -> bool:
    if wanted == "base":
        return current is not None
    if current is None:
        return False
    older = {one.revision for one in script.iterate_revisions(current, "base")} - {current}
    return script.get_revision(wanted).revision in older

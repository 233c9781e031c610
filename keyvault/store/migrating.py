"""Running the migrations from inside the program: no configuration file, no second address."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from keyvault.store.engine import reading, writing

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(engine: Engine, revision: str) -> None:
    config = _config()
    script = ScriptDirectory.from_config(config)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        if _is_older(
            script, revision, MigrationContext.configure(connection).get_current_revision()
        ):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        connection.commit()


def version(engine: Engine) -> str | None:
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def is_current(engine: Engine) -> bool:
    """Whether the tables are at the newest revision."""
    return version(engine) == ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _is_older(script: ScriptDirectory, wanted: str, current: str | None) -> bool:
    if wanted == "base":
        return current is not None
    if current is None:
        return False
    older = {one.revision for one in script.iterate_revisions(current, "base")} - {current}
    return script.get_revision(wanted).revision in older

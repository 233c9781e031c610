"""What somebody can do who owns the database."""

from sqlalchemy import text

from keyvault.store.engine import open_engine, writing


def tamper(url: str, change: str) -> None:
    """Change stored rows, after taking away the triggers that guard them."""
    engine = open_engine(url)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for name in connection.scalars(text(query)).all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(change))
        connection.commit()
    engine.dispose()

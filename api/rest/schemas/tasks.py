"""What waits for a person, on the wire."""

from typing import Self

from api.rest.schemas.common import Moment, Wire
from keyvault.operations.mine import Task


class TaskOut(Wire):
    """One thing to do, and the command that does it. `due` is null where it is never late."""

    kind: str
    what: str
    due: Moment | None
    command: str

    @classmethod
    def of(cls, task: Task) -> Self:
        return cls(**{name: getattr(task, name) for name in cls.model_fields})


class TasksOut(Wire):
    """What is due first stands at the top."""

    items: list[TaskOut]

"""Files that must not be forgotten: written, flushed, and their folder flushed too."""

import os
from pathlib import Path


def create(path: Path, data: bytes) -> None:
    """Make a file that does not exist yet. Raises `FileExistsError`.

    On any other error no file is left behind.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add to a file, or make it. A crash may leave a part of `data` at its end."""
    new = not path.exists()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        _flush(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Put a whole new content in place of the old."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    create(new, data)
    new.replace(path)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""What the web process and the owner of the database cannot do."""

import os
from pathlib import Path

from tests.stack import Stack


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def test_the_web_process_loads_no_module_and_sees_no_pin(stack: Stack):
    stack.active_key()
    folder = stack.settings.credentials
    assert folder is not None
    pins = [path.read_bytes().strip() for path in folder.iterdir()]
    assert pins
    for pid in family(stack.pid("api")):
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "softhsm" not in maps
        assert "pkcs11" not in maps
        seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        seen += readable_memory(pid)
        assert not [pin for pin in pins if pin in seen]


def readable_memory(pid: int) -> bytes:
    """What a debugger would see of a process: its heap and other private pages."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            start, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw") and end - start < 2**28:
                parts.append(os.pread(memory.fileno(), end - start, start))
    return b"".join(parts)

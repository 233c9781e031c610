"""The digest of the program that heartbeats tell, as somebody else works it out."""

import subprocess
from shutil import copytree

from keyvault.operations.heartbeat import PACKAGES, PLACE, program_digest

LINE = "find api cli hsm keyvault -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum"


def test_a_changed_byte_of_any_package_changes_the_digest_that_a_shell_works_out_too(tmp_path):
    assert LINE in (program_digest.__doc__ or "")
    for name in PACKAGES:
        copytree(PLACE / name, tmp_path / name, ignore=lambda *_: ["__pycache__"])
    told = {program_digest(tmp_path)}
    for name in PACKAGES:
        with (tmp_path / name / "__init__.py").open("a") as file:
            file.write("#")
        shell = subprocess.run(LINE, shell=True, cwd=tmp_path, capture_output=True, check=True)  # noqa: S602  (it is the line that is documented)
        told.add(shell.stdout.split()[0].decode())
        assert program_digest(tmp_path) in told
    assert len(told) == 1 + len(PACKAGES)

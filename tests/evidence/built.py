"""The verifier as auditors get it: built, and loaded from the one file."""

import atexit
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from keyvault.evidence.built import verifier

FOLDER = Path(tempfile.mkdtemp(prefix="verifier-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
PROGRAM = FOLDER / "verify.py"
PROGRAM.write_bytes(verifier())

_SPEC = importlib.util.spec_from_file_location("built_verifier", PROGRAM)
verify = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = verify  # what it defines looks itself up there
_SPEC.loader.exec_module(verify)

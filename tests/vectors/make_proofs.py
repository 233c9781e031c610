"""Write proofs.json anew: proofs of our own that four programs by others have believed.

    python -m tests.vectors.make_proofs > tests/vectors/proofs.json

Entry n is the text `entry n`. Made 2026-11-22 by this project, free to use.
"""

import json
import sys

from tests.judges.cases import cases

SEED, COUNT = 6962, 64


def text():
    return json.dumps({"entry": "entry %d", "cases": list(cases(SEED, COUNT))}, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())

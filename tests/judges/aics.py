"""Judge proofs with aics-tlog, as a program: one JSON case a line in, one verdict a line out."""

import json
import sys

from aics_tlog import verify_consistency, verify_inclusion

for line in sys.stdin:
    case = json.loads(line)
    size, root = case["size"], bytes.fromhex(case["root"])
    proof = [bytes.fromhex(node) for node in case["proof"]]
    if "old" in case:
        old_root = bytes.fromhex(case["old_root"])
        good = verify_consistency(case["old"], size, old_root, root, proof)
    else:
        good = verify_inclusion(bytes.fromhex(case["leaf"]), case["index"], size, proof, root)
    sys.stdout.write(f"{bool(good)}\n")

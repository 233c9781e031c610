"""A year of the log as a directory of c2sp.org/tlog-tiles, with what events say beside it.

    checkpoint               signed note, with cosignatures
    tile/<level>/<n>         all hash tiles of the tree under it
    tile/entries/<n>         the leaves, 256 to a bundle; those of the year alone
    payload/<n>              salt and payload of the same events, NDJSON
    authority.ndjson         the whole chain of authority
    erasures.ndjson          why payloads are missing, where some are, each event with its proof
    tsa/, policy             time stamps, and whose cosignatures count
    archive.json             which year, which events, and SHA-256 of every other file

Other programs read `checkpoint` and `tile/`; the rest is what an evidence bundle needs beside.
"""

MANIFEST = "archive.json"
CHECKPOINT, AUTHORITY, POLICY = "checkpoint", "authority.ndjson", "policy"
ERASURES = "erasures.ndjson"
VERSION = 1
ENTRIES = "entries"
WIDTH = 256  # leaves in a bundle


def payload_path(path: str) -> str:
    """Name the file of payloads that belongs to a bundle of entries."""
    return path.replace(f"tile/{ENTRIES}/", "payload/", 1)

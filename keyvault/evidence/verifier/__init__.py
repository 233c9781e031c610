"""The auditor's program, in parts: `keyvault.evidence.built` joins them into the one `verify.py`.

A part imports the standard library and parts before it in `PARTS`, nothing else; names at the top
of parts are all different, since they come to stand in one file. The file has to run on Python
3.8, so that an auditor's older machine will do.
"""

PARTS = (
    "words",
    "catalogue",
    "archive",
    "report",
    "merkle",
    "sightings",
    "notes",
    "witnesses",
    "forms",
    "acts",
    "standing",
    "rules",
    "redemption",
    "soundness",
    "changes",
    "authority",
    "rights",
    "choosing",
    "lone",
    "erasures",
    "heads",
    "queries",
    "asked",
    "custody",
    "sections",
    # Sections, each a part, come here.
    "stamps",
    "transcripts",
    "tokens",
    "deliveries",
    "traces",
    "epochs",
    "events",
    "outside",
    "case",
    "packs",
    "program",
)

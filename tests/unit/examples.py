"""One example of every command, as documents write it."""

from base64 import b64encode

KEY = "018f3b8e-7c7e-7000-8000-000000000001"
TERMS = {
    "label": "meter signing",
    "algorithm": "EC-P256",
    "usage": "sign",
    "key_class": "standard",
    "protect_days": 365,
    "process_days": 730,
}
ORDER = {**TERMS, "need": None, "supersedes": None, "cell_usage": None}
ON_A_KEY = {"key": KEY, "reason": "as ordered"}
POINT = "3059301306072a8648ce3d020106082a8648ce3d03010703420004"  # of P-256, up to its coordinates
CREDENTIAL = {
    "spki": b64encode(bytes.fromhex(POINT) + bytes(64)).decode(),
    "assurance": "card",
    "login_only": False,
}
LOGIN = {
    "spki": b64encode(bytes.fromhex(POINT) + b"\1" * 64).decode(),
    "assurance": "card",
    "login_only": True,
}
GRANT = {"role": "auditor", "scope": "*", "until": "2031-03-01T00:00:00Z"}
SCREENING = {
    "standard": "BS 7858:2019",
    "vetting": "baseline",
    "reference": "HR-2026-17",
    "reviewed_on": "2026-03-01",
    "due": "2027-03-01",
}
EXAMPLES = {
    "generate-key": ORDER,
    "import-key": {**TERMS, "kek": KEY, "blob": "AAEC"},
    "export-key": {**ON_A_KEY, "kek": KEY},
    "import-components": {
        **TERMS,
        "algorithm": "AES-192",
        "usage": "mac",
        "minutes": 60,
        "custodians": ["erin", "frank", "grace"],
        "expected": "cmac:1a2b3c",
    },
    "import-envelope": {
        **TERMS,
        "custodian": "erin",
        "public_half": "AAEC",
        "expected": None,
        "minutes": 60,
    },
    "export-components": {**ON_A_KEY, "custodians": ["erin", "frank"], "minutes": 60},
    "export-envelope": {**ON_A_KEY, "recipient": "AAEC"},
    "activate-key": ON_A_KEY,
    "resume-key": ON_A_KEY,
    "deactivate-key": ON_A_KEY,
    "destroy-key": ON_A_KEY,
    "allow-use": {**ON_A_KEY, "uses": 10, "hours": 2},
    "make-backup-key": {
        "label": "backups 2026",
        "threshold": 2,
        "holders": [
            {"person": p, "spki": _bytes, "credential": "ab" * 32, "signature": _bytes}
            for p, _bytes in (("bob", "AAEC"), ("carol", "AAED"), ("dave", "AAEE"))
        ],
        "supersedes": None,
        "reason": "the first",
    },
    "destroy-backup-key": {"backup_key": KEY, "reason": "it was replaced"},
    "recover-log": {
        "kept_size": 117,
        "kept_root": "ab" * 32,
        "lost_size": 240,
        "lost_root": "cd" * 32,
        "epoch": 2,
        "reason": "the disk is lost",
    },
    "restore-backup": {
        "backup": KEY,
        "backup_key": KEY,
        "sha256": "ab" * 32,
        "threshold": 2,
        "share_set": 4711,
        "check_value": "a1b2c3",
        "drill": True,
        "reason": "the quarterly drill",
    },
    "erase-payload": {"events": [17, 18], "ground": "GDPR article 17", "reason": "asked for"},
    "lift-hold": {**ON_A_KEY, "hold": KEY},
    "purge-payloads": {
        "retention": "use",
        "before": "2025-01-01T00:00:00Z",
        "reason": "thirteen months are over",
    },
    "lift-log-hold": {"hold": KEY, "reason": "case closed"},
    "certify-authority": {**ON_A_KEY, "parent": None, "title": "root 2026", "days": 3650},
    "certify-signer": {**ON_A_KEY, "parent": KEY, "title": "cards 2026", "days": 3000},
    "register-person": {
        "person": "erin",
        "full_name": "Erin Example",
        "organisation": "Example Energy",
        "site": "leeds",
        "manager": "frank",
        "credential": CREDENTIAL,
        "grants": [GRANT],
        "screening": SCREENING,
        "login": LOGIN,
    },
    "change-person": {
        "person": "erin",
        "organisation": "Example Energy",
        "site": "leeds",
        "manager": "frank",
        "grants": [GRANT],
        "reason": "moved",
    },
    "remove-person": {"person": "erin", "reason": "left"},
    "review-screening": {"person": "erin", "screening": SCREENING},
    "acknowledge-duty": {
        "person": "erin",
        "duty": "keeping-keys",
        "version": 1,
        "sha256": "5a" * 32,
    },
    "hold-person": {"person": "erin", "hours": 72, "reason": "card lost"},
    "suspend-person": {"person": "erin", "reason": "under investigation"},
    "reinstate-person": {"person": "erin", "reason": "cleared"},
    "enrol-credential": {"person": "erin", "credential": CREDENTIAL},
    "revoke-credential": {"person": "erin", "thumbprint": "5a" * 32, "reason": "card lost"},
    "enrol-system": {
        "system": "dcc-1",
        "full_name": "DCC",
        "certificate": "AAEC",
        "issuer": "AAEC",
        "actions": ["key:sign"],
        "keys": ["*"],
        "until": "2027-03-01T00:00:00Z",
    },
    "rotate-system": {
        "system": "dcc-1",
        "certificate": "AAEC",
        "issuer": "AAEC",
        "overlap_hours": 48,
        "until": "2027-03-01T00:00:00Z",
    },
    "revoke-system": {"system": "dcc-1", "reason": "gone"},
    "set-rule": {
        "rule": {
            "id": "everything",
            "commands": ["*"],
            "key_classes": ["*"],
            "roles": ["key-approver"],
            "approvals": 2,
            "expires_after": 86_400,
            "wait": 0,
            "group_by": "site",
            "groups": 2,
            "assurance": "card",
            "vetting": "enhanced",
            "break_glass": False,
        },
        "reason": "as decided",
    },
    "rotate-kek": {"number": 2, "reason": "yearly"},
    "retire-kek": {"number": 1, "reason": "nothing rests under it"},
    "remove-rule": {"rule": "everything", "reason": "as decided"},
    "set-key-class": {
        "key_class": {
            "name": "grave",
            "residence": "resident",
            "verify": "always",
            "extractable": False,
            "guarded": True,
            "module_level": 3,
            "retention_days": 0,
            "classification": "SECRET",
            "location": "UK",
        },
        "reason": "as decided",
    },
    "set-duty": {
        "duty": {
            "name": "keeping-keys",
            "version": 1,
            "sha256": "5a" * 32,
            "roles": ["key-approver"],
            "since": "2026-03-01",
        }
    },
    "set-standard": {
        "standard": {
            "name": "BS 7858",
            "edition": "2019",
            "in_force_from": "2026-06-01",
            "transition_until": None,
            "reference": "PANEL-12",
        }
    },
    "set-spare-key": {"spki": CREDENTIAL["spki"], "reason": "the second token was set up"},
}

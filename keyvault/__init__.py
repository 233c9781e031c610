"""The house: rules, store, gate, operations.

Imports run one way: bootstrap → operations → (gate.client | store) → domain.
"""

VERSION = "0.1.0"

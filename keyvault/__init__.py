"""The house: rules, store, gate, operations. Imports run bootstrap → operations → (gate | store) → domain."""

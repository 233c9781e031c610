"""The files of a gate, under the name by which its modules know them."""

from keyvault.durable import create, replace

__all__ = ["create", "replace"]

"""Documents for people: one model, shown as a page that needs nothing else, or as paper.

The same input gives the same bytes, so that a printed document can be named by its hash.
"""

from keyvault.paper.model import Paper

__all__ = ["Paper"]

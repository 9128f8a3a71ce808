"""Every claim of the paper beside everything that was measured: the verdicts follow, nobody writes them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reports.document import Ledger
from reports.paper.claims import CLAIMS
from reports.paper.cost_rules import COST_RULES
from reports.paper.findings import Rule, settle
from reports.paper.gradient_rules import GRADIENT_RULES
from reports.paper.llama_rules import LLAMA_RULES
from reports.paper.quality_rules import QUALITY_RULES
from reports.paper.size_rules import SIZE_RULES
from reports.paper.sparsity_rules import SPARSITY_RULES
from reports.reading.shelf import Shelf

__all__ = ["RULES", "paper_ledger"]

RULES: Mapping[str, Rule] = MappingProxyType(
    {**COST_RULES, **GRADIENT_RULES, **LLAMA_RULES, **QUALITY_RULES, **SIZE_RULES, **SPARSITY_RULES}
)
"""By claim."""


def paper_ledger(shelf: Shelf) -> Ledger:
    """The claims in the paper's order, each settled by what the shelf holds."""
    return Ledger(
        title="The paper's claims, one by one",
        claims=tuple(settle(claim, RULES[claim.id](claim, shelf)) for claim in CLAIMS.values()),
    )

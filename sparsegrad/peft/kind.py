"""``PeftType.SPARSEGRAD``: the one place where PEFT's list of methods is made longer.

PEFT asks for a method by a member of the enum ``PeftType``: ``register_peft_method`` refuses any other name, its
mappings are keyed by members, and its code reads ``peft_type.value``. An enum that has members cannot be subclassed, so
a member is added to the very class, in the four places where the enum machinery looks for one. It is a member like the
others then: ``PeftType("SPARSEGRAD")``, iteration, str, JSON, hash, identity after pickle and deepcopy.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from peft.utils import PeftType


def extended(kind: type[Enum], name: str) -> Any:
    """The member of a str enum whose name and value are both ``name``, added where there is none yet."""
    if name in kind.__members__:
        return kind[name]
    member: Any = str.__new__(kind, name)  # type: ignore[type-var]
    member._name_ = member._value_ = name
    member.__objclass__ = kind
    member._sort_order_ = len(kind.__members__)
    # Enum's own __setattr__ guards members; type's sets the attribute before the name becomes one.
    type.__setattr__(kind, name, member)
    kind._member_names_.append(name)
    kind._member_map_[name] = member
    kind._value2member_map_[name] = member
    return member


SPARSEGRAD = extended(PeftType, "SPARSEGRAD")

"""Shares as people write them: "5%" and 0.05 in, buckets and text out.

A bare "5" is refused: it may mean five percent or five times everything. Reads no plan.
"""

from decimal import Decimal
from math import floor

from contracts.errors import InvalidInput
from contracts.plan import BUCKETS


def parse_share(text: str) -> float:
    """The part in [0, 1] that "5%", "0.5 %" or "0.05" mean; `InvalidInput` where the text could mean two things."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = Decimal(number.strip())
        part = float(value / 100 if percent else value)
    except (ArithmeticError, ValueError):
        raise InvalidInput(f'share {text!r}: write a percentage such as "5%" or a fraction such as "0.05"') from None
    if rest or not value.is_finite():
        raise InvalidInput(f'share {text!r}: write a percentage such as "5%" or a fraction such as "0.05"')
    if not percent and value >= 1:
        raise InvalidInput(f'share {text!r} is ambiguous: write "{value}%", or a fraction below 1 such as "0.05"')
    return checked_share(part)


def checked_share(share: float) -> float:
    """The share itself; `InvalidInput` where it is not a number in [0, 1]."""
    if not 0.0 <= share <= 1.0:
        raise InvalidInput(f"share {share:g}: a share lies between 0% and 100% (as a number: between 0 and 1)")
    return share


def buckets_of(share: float) -> int:
    """How many buckets a share is, rounded down so that shares that add up to 100% fit; never none for more than 0%."""
    checked_share(share)
    return max(1, floor(share * BUCKETS)) if share else 0


def share_text(share: float) -> str:
    """A share as people read it: "5%", "0.01%", "33.3333%"; what would read as 0% or 100% but is not says so."""
    text = f"{100 * share:.6g}%"
    if share > 0 and float(f"{100 * share:.4f}") == 0:
        return "<0.0001%"
    return ">99.9999%" if share < 1 and text == "100%" else text

"""Card -> all its sections in the order in which people read them. Pure."""

from contracts.card import Card
from contracts.moment import format_moment
from gateway.cards import about_traffic, about_version
from gateway.cards.section import Section


def sections_of(card: Card) -> tuple[Section, ...]:
    """Everything that the card says, and everything that it does not know."""
    return (
        about_version.identity(card),
        about_version.purpose(card),
        about_traffic.present(card),
        about_traffic.live(card),
        about_traffic.gates(card),
        about_traffic.verdicts(card),
        about_traffic.history(card),
        about_version.reference(card),
        about_version.signature(card),
        about_version.making(card),
    )


def heading_of(card: Card) -> str:
    """Which version the card is of."""
    return f"{card.model} version {card.version}"


def written(card: Card) -> str:
    """When the card was written, and by what."""
    return f"written {format_moment(card.made_us // 10**6 * 10**6)} by Pointsman {card.pointsman}"

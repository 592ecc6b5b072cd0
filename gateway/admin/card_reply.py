"""The card of a version over HTTP: JSON for a program, a page for a browser.

Enters: a request that names a version, and whoever knows something of it. Leaves: the reply. Never decides what a card says.
"""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from contracts.wire import encode
from gateway.admin.requests import model_of, version_of, wants_page
from gateway.cards.gathering import CardSources, gather_card
from gateway.cards.page import POLICY, page


async def card_reply(sources: CardSources, request: Request) -> Response:
    """Raises what `gather_card` raises."""
    card = await gather_card(sources, model_of(request), version_of(request))
    if wants_page(request):
        return HTMLResponse(page(card), headers={"content-security-policy": POLICY, "vary": "accept"})
    return Response(encode(card), headers={"vary": "accept"}, media_type="application/json")

"""Derives the refusals that a route can give from its declaration, so that the OpenAPI document names every status."""

from service.access import OPEN
from service.operations import OWN, Operation
from service.parameters import PARAMETER

MALFORMED = {400: "The request can't be understood."}
PROTECTED = {
    401: "No valid key.",
    403: "The key lacks the scope, or a change by cookie lacks its CSRF token.",
    429: "This address has sent too many wrong keys, or the queue is full; see Retry-After.",
    503: "The database can't be reached now; see Retry-After.",
}
BUSY = {503: "The database can't be reached, or too many lists are being read now; see Retry-After."}
NOWHERE = {404: "Nothing has this address."}
UNACCEPTABLE = {406: "Accept names no media type of this address."}
CHANGED = {412: "The content no longer has the ETag of If-Match."}
BODY = {413: "The body is too large.", 415: "The body has another media type, or is not in UTF-8."}
INVALID = {422: "The body or a parameter is not valid; `errors` name the places."}


def refusals(operation: Operation) -> dict[int, str]:
    """Return a description of each status with which the parts before the handler refuse a request.

    A handler's own refusals, such as 409, are declared with the operation.
    """
    found = dict(MALFORMED)
    if operation.policy != OPEN:
        found |= PROTECTED
    if operation.heavy:
        found |= BUSY
    if PARAMETER.search(operation.path):
        found |= NOWHERE
    if operation.media_types:
        found |= UNACCEPTABLE
    if 304 in operation.answers:
        found |= CHANGED
    if operation.bodies:
        found |= BODY
    # our own addresses refuse unknown parameters even if they have none; other protocols say 400 where we say 422
    if operation.refusal is None and (operation.bodies or operation.query or operation.path.startswith(OWN)):
        found |= INVALID
    return found

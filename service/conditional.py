"""ETags: whether the caller already has this content, or wants only content that has not changed."""

from hashlib import sha256

from werkzeug.http import quote_etag

from service.problems import DETAILS, Problem
from service.reply import Reply
from service.request import request


def conditional(reply: Reply, tag: str | None = None, *, weak: bool = False) -> Reply:
    """Return the reply with an ETag, or 304 if the caller already has this content. Raises a 412 Problem.

    tag: the ETag; None for a hash of the content, which must be whole.
    """
    if tag is None:
        if not isinstance(reply.body, bytes):
            raise TypeError("content that is sent in parts has no hash")
        tag = sha256(reply.body).hexdigest()[:40]
    reply.headers["ETag"] = quote_etag(tag, weak)
    asked = request()
    # a star is met by whatever exists, and a weak ETag by nothing: RFC 9110, 13.1.1
    if asked.if_match and not asked.if_match.star_tag and (weak or not asked.if_match.is_strong(tag)):
        raise Problem(412, DETAILS[412])
    if asked.method in ("GET", "HEAD") and asked.if_none_match.contains_weak(tag):
        if reply.close is not None:
            reply.close()
        return Reply(status=304, headers=reply.headers)
    return reply

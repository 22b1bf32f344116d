"""The API's reference, offline: Swagger UI on this server's own OpenAPI document."""

from flask import render_template
from werkzeug.wrappers import Response

from service.access import CONTENT_SECURITY_POLICY

# Swagger UI writes style elements and draws with data: images; no other page may
RELAXED = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


def page() -> Response:
    return Response(render_template("docs.html"), headers={"Content-Security-Policy": RELAXED}, mimetype="text/html")

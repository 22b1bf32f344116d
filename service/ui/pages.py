"""The pages' routes."""

from flask import Blueprint, Flask, Response

from service.access import OPEN

ui = Blueprint("ui", __name__)


def register(app: Flask) -> dict[str, str]:
    app.register_blueprint(ui)
    return {"ui.login": OPEN}


@ui.get("/ui/login")
def login() -> Response:
    return Response("login")

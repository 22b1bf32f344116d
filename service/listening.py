"""The socket on which the API listens. A parent process may pass it on, so that a restart refuses no connection."""

import os
import socket

from service.settings import ServiceSettings
from worker.errors import StartError

BACKLOG = 2048
LISTENING = "GRADMILL_LISTENING"
"The environment variable with the number of a socket that is inherited from the parent process."


def listen(settings: ServiceSettings) -> socket.socket:
    """Return the socket that the parent process passed on, or a new one. Raises StartError if it can't be had."""
    inherited = os.environ.get(LISTENING)
    if inherited is not None:
        return socket.socket(fileno=int(inherited))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartError(
            f"Port {settings.port} of {settings.host} can't be used ({os.strerror(error.errno or 0).lower()}): "
            "choose another with --port or GRADMILL_PORT."
        ) from error

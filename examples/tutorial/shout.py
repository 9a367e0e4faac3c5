"""The service of the tutorial: each line comes back in capitals."""

from netserve.handlers import MessageRequestHandler


class Shout(MessageRequestHandler):
    """Answers in capitals."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return *message* in capitals."""
        return message.upper()

"""What a client is told when there is no answer."""


class Refused(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP. 4xx: the request cannot be answered as it is; 503: not now.
        reason: one sentence for whoever sent it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def not_now(reason: str) -> Refused:
    """The one refusal that is not the client's fault: it may try again."""
    return Refused(503, reason)

"""What a client is told when there is no answer."""

from typing import Literal

State = Literal["busy", "loading", "stopped"]


class Refused(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP. 4xx: the request cannot be answered as it is; 503: not now.
        reason: one sentence for whoever sent it.
        state: of the service, a word for programs, where that is the cause.
    """

    def __init__(self, status: int, reason: str, state: State | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.state = state


def not_now(reason: str, state: State = "busy") -> Refused:
    """The one refusal that is not the client's fault: it may try again, unless the model has stopped."""
    return Refused(503, reason, state)

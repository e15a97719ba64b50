"""Which names the service answers to.

A page from elsewhere whose name is made to lead to this machine (DNS rebinding) could otherwise read all that is served
here: for a browser the two are one site. Its requests carry that name as their `Host`.
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import PodiumError

ANY = "*"
OPEN = ("/health",)  # for whoever: load balancers ask by addresses of their own
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/@?#\\\[\],]+?))\.?(?::\d*)?", re.IGNORECASE)  # and its port


class Hosts:
    """ASGI middleware: 421 for requests to any other host than this machine, or those given.

    This machine is localhost, its own name, an address of the loopback, and the address that the request came to.

    Args:
        hosts: further names or addresses, without a port; "*": all.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.any = ANY in hosts
        self.names = {"localhost", socket.gethostname().lower(), *(check_host(host) for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.any or scope["type"] == "lifespan" or scope["path"] in OPEN or self._is_ours(scope):
            return await self.app(scope, receive, send)
        reason = "this service does not answer to that Host: whoever runs it can add it to hosts="
        await JSONResponse({"error": reason}, 421)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        given = Headers(scope=scope).getlist("host")
        host = name_of(given[0]) if len(given) == 1 else None
        return host is not None and (host in self.names or _is_this_machine(host, scope))


def name_of(header: str) -> str | None:
    """A `Host` without port and brackets, in lower case; None: it is none."""
    found = HOST.fullmatch(header)
    return (found[1] or found[2]).lower() if found else None


def check_host(host: str) -> str:
    """One of the option `hosts`, as `name_of` has it. Raises PodiumError."""
    name = host if host == ANY else name_of(f"[{host}]" if host.count(":") > 1 and host[0] != "[" else host)
    if name is None or ("*" in name and name != ANY):
        raise PodiumError(f"hosts must be names or addresses such as a.example, or *, got {host!r}")
    return name


def _is_this_machine(host: str, scope: Scope) -> bool:
    address, server = _address(host), scope.get("server")
    if address is None:
        return False
    return address.is_loopback or address.is_unspecified or bool(server and address == _address(server[0]))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

"""Check the proxy for calls to the vendor (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) and the certificate
authorities that they trust (SSL_CERT_FILE, SSL_CERT_DIR).

The variables are read here and nowhere else: a library that read them itself would not report what it cannot use.
"""

import functools
import os
import re
import ssl
from typing import Final
from urllib.parse import SplitResult

from app.runtime.addresses import Address, parse_address, parse_network
from app.runtime.egress import is_loopback
from app.settings.sources import plain
from app.settings.urls import proxy_address

_BY_SCHEME: Final = {"https": "https_proxy", "http": "http_proxy"}
_PORTS: Final = {"https": 443, "http": 80}
_WITH_PORT: Final = re.compile(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>\d+)")


def applies_to(variable: str, vendor: SplitResult, no_proxy: str) -> bool:
    """Whether a variable applies to calls to the vendor: the one of the URL's scheme and ALL_PROXY do, but not for this
    machine, and not for what NO_PROXY excepts, separated by blanks."""
    host = vendor.hostname or ""
    if variable not in (_BY_SCHEME[vendor.scheme], "all_proxy") or is_loopback(host):
        return False
    port = vendor.port or _PORTS[vendor.scheme]
    return not any(_excepts(entry, host.removesuffix("."), port) for entry in no_proxy.split())


def usable_proxy(value: str) -> str:
    """Check the URL of an http or https proxy. Raises ``ValueError``."""
    scheme, separator, _ = plain(value).partition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise ValueError("a proxy is called over http or https only, as in http://proxy.example:3128")
    return proxy_address(value)


def _excepts(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY matches the host: ``*``, an address, a network, or a name with its subdomains; each
    but a network also with a port. Anything else matches nothing."""
    if entry == "*":
        return True
    with_port = _WITH_PORT.fullmatch(entry)
    if with_port is not None and int(with_port["port"]) != port:
        return False
    name = (with_port["host"] if with_port is not None else entry).replace("[", "").replace("]", "").lower()
    address = parse_address(host)
    if address is not None:
        return _contains(name, address)
    name = name.removeprefix("*").strip(".")
    return bool(name) and f".{host}".endswith(f".{name}")


def _contains(network: str, address: Address) -> bool:
    try:
        return address in parse_network(network)
    except ValueError:
        return False


_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""The name of a certificate file in a folder that OpenSSL searches."""


@functools.cache
def load_tls_context(file: str | None, folders: str | None) -> ssl.SSLContext:
    """Make a TLS context with the certificate authorities of a file, or else of folders. Cached, since that is slow.
    Raises ``ValueError``."""
    if file is not None:
        return _of_file(file)
    for folder in (folders or "").split(os.pathsep):
        _check_folder(folder)
    return ssl.create_default_context(capath=folders)


def _of_file(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError("the file that it names holds no certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"the file that it names cannot be read: {error.strerror}") from None


def _check_folder(path: str) -> None:
    try:
        names = os.listdir(path)
    except OSError as error:
        raise ValueError(f"a folder that it names cannot be read: {error.strerror}") from None
    if not any(map(_HASHED.fullmatch, names)):
        raise ValueError("a folder that it names holds no certificates under their hashes (see 'openssl rehash')")

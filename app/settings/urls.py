"""Check URLs of the settings. What is returned is made of the parts that were checked."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from app.runtime.addresses import parse_address

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PATH: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_USER: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*")


def web_address(value: str) -> SplitResult:
    """Check an http or https URL, and return its parts: the scheme and the host in lower case, a path without slashes
    at its end, and nothing else. Raises ``ValueError``."""
    parts = _split(value)
    if "@" in parts.netloc:
        raise ValueError("it must have no user and no password")
    if parts.query or parts.fragment:
        raise ValueError("it must have no query and no fragment")
    if not _PATH.fullmatch(parts.path):
        raise ValueError("its path has a character that must be percent-encoded")
    return SplitResult(parts.scheme, _authority(parts), parts.path.rstrip("/"), "", "")


def web_origin(value: str) -> str:
    """An origin as browsers send it: scheme, host, and the port where it is not the usual one. Raises
    ``ValueError``."""
    parts = web_address(value)
    if parts.path:
        raise ValueError("it must be a comma-separated list of origins, as in https://app.example, without a path")
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(f':{usual}')}"


def store_url(value: str) -> str:
    """The URL of a store for files: a directory of this machine, or a bucket with a prefix. Raises ``ValueError``."""
    scheme, found, rest = value.partition("://")
    if not found or scheme not in ("file", "s3", "gs", "az"):
        raise ValueError(
            "it must be file:///directory, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        )
    if scheme == "file" and not rest.startswith("/"):
        raise ValueError("a directory is written with its whole path, as in file:///var/lib/gateway/archive")
    if scheme != "file" and not rest.strip("/"):
        raise ValueError("it must name a bucket")
    return value.rstrip("/")


def proxy_address(value: str) -> str:
    """Check the URL of a proxy, which may have a user and a password; without a scheme it is taken for http. Raises
    ``ValueError``."""
    parts = _split(value if "://" in value else f"http://{value}")
    user, at, _ = parts.netloc.rpartition("@")
    # A "/", "?" or "#" of a password ends the host, unless it is encoded.
    if parts.path.strip("/") or parts.query or parts.fragment or not _USER.fullmatch(user):
        raise ValueError(
            "it must be http://host:port or https://host:port, with user:password@ before the host if need be, "
            "percent-encoded"
        )
    return f"{parts.scheme}://{user}{at}{_authority(parts)}"


def _split(value: str) -> SplitResult:
    if not value.isascii():
        raise ValueError("it must be ASCII: a host in its xn-- form, all else percent-encoded")
    if " " in value:
        raise ValueError("it has a blank inside")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be an http or https URL")
    if port == 0 or not _is_host(parts.hostname):
        raise ValueError("its host or port is not valid")
    return parts


def _is_host(host: str) -> bool:
    if parse_address(host) is not None:
        return True
    labels = host.removesuffix(".").split(".")
    # What ends in a number is read as an IPv4 address, and is none.
    return all(map(_LABEL.fullmatch, labels)) and len(host) <= 253 and not labels[-1].isdecimal()


def _authority(parts: SplitResult) -> str:
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return shown if parts.port is None else f"{shown}:{parts.port}"

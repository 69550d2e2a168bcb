"""Whom calls over TLS trust, where SSL_CERT_FILE or SSL_CERT_DIR says so."""

import functools
import os
import re
import ssl
from typing import Final

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL names a certificate that it looks for in a folder."""


@functools.cache
def authorities_in(file: str | None, folders: str | None) -> ssl.SSLContext:
    """The certificates of a file, or else of folders. Read once: it takes long. Raises ``ValueError``."""
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

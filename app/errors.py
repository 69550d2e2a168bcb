"""What can go wrong, with no HTTP in it. What the vendor does wrong is data, not an exception."""


class GatewayError(Exception):
    """Base of all errors that a caller of the gateway can cause or meet. ``detail`` is safe to show; the text of the
    exception is for who runs the gateway, and says more where ``operator_detail`` is given."""

    def __init__(self, detail: str, operator_detail: str | None = None) -> None:
        super().__init__(operator_detail or detail)
        self.detail = detail


class InvalidRequest(GatewayError):
    """The request is well-formed but says something impossible. ``faults``: one (path, message) each."""

    def __init__(self, detail: str, faults: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.faults = faults


class InvalidJson(GatewayError):
    """The body is not JSON. ``detail`` says where it ceases to be."""


class UnknownEncoding(GatewayError):
    """The body is not JSON, and its ``Content-Encoding`` may be why."""


class BadCursor(GatewayError):
    """The cursor cannot be read, or was made for other filters."""


class NotFound(GatewayError):
    """There is no such thing, or it is not the caller's."""


class Unauthenticated(GatewayError):
    """No API key, or one that nobody has."""


class Forbidden(GatewayError):
    """A right key, but the route is an admin's."""


class TooManyFailures(GatewayError):
    """Too many wrong keys from one address."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Conflict(GatewayError):
    """The thing is not in a state that allows this."""


class ArtifactUnknown(NotFound):
    """An item has no artifact of this name."""


class ArtifactNotReady(GatewayError):
    """A file is still to come."""


class ArtifactGone(GatewayError):
    """A file is not kept, and its link has expired or never came."""


class ArchiveOff(GatewayError):
    """There is no store for files."""


class ZipRefused(GatewayError):
    """A zip cannot be looked into: it is broken, or built to do harm."""


class PayloadTooLarge(GatewayError):
    """The body is over the limit."""


class TooSlow(GatewayError):
    """The body did not come in time."""


class IdempotencyMismatch(GatewayError):
    """The idempotency key was used with another body."""


class Unavailable(GatewayError):
    """Not now: over capacity, the database is away, or the vendor is paused."""

    def __init__(self, detail: str, retry_after_s: float = 1.0, operator_detail: str | None = None) -> None:
        super().__init__(detail, operator_detail)
        self.retry_after_s = retry_after_s


class VendorPaused(Unavailable):
    """The vendor is not asked now: its key was rejected, or it wants to be left alone for a while."""


class NotRefreshed(Unavailable):
    """The vendor was asked, or was to be asked, and no answer came in time."""


class VendorFailed(GatewayError):
    """The vendor answered a read (the account) with an error or not at all."""


class SchemaNotAtHead(GatewayError):
    """The database's schema is not the one that this release needs."""


class DatabaseInUse(GatewayError):
    """Another process serves this SQLite file."""


class NoDatabase(GatewayError):
    """There is no SQLite file yet, and this command makes none."""


class UnsuitableDatabase(GatewayError):
    """The database is there, and cannot hold what the gateway stores."""


class BadSettings(Exception):
    """The settings are not usable. ``faults``: one line for each, which names the variable and holds no value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

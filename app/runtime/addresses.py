"""Parse IP addresses: one that is mapped from IPv4 to IPv6 (::ffff:192.0.2.1) is the IPv4 address."""

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """Parse an address without brackets and port; None for anything else, like a name."""
    try:
        return unmapped(ip_address(text))
    except ValueError:
        return None


def unmapped(address: Address) -> Address:
    """The IPv4 address of one that is mapped to IPv6; any other as it is."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address

import pytest

from keyvault.core.addresses import is_address


@pytest.mark.parametrize(
    "text", ["a:1", "10.0.0.1:7443", "kv-1.example:65535", "b_2:7443", "[2001:DB8::1]:7443", f"{'a' * 253}:7443"]
)
def test_a_host_and_a_port_are_an_address(text: str) -> None:
    """Names, numbers and IPv6 in brackets, with a port."""
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kv-1",
        "kv-1:",
        ":7443",
        "kv-1:0",
        "kv-1:07443",
        "kv-1:65536",
        "kv-1:7443 ",
        "kv-1:7443\n",
        "kv 1:7443",
        "kv-1:7443\nx-other: 1",
        "kv-1\x1b[2J:7443",
        "kv-\u0430:7443",
        "kv-1:\u0661",
        "-kv:7443",
        "unix:/srv/other.sock",
        "unix:///srv/other.sock",
        "dns://10.0.0.9/kv-1:7443",
        "dns:///kv-1:7443",
        "ipv4:10.0.0.9:7443",
        "user@kv-1:7443",
        "::1:7443",
        f"{'a' * 254}:7443",
        f"[{':' * 46}]:7443",
        "a" * 100_000,
    ],
)
def test_everything_else_is_none(text: str) -> None:
    """What gRPC would take for a target of another kind, what no host is called, and what a terminal would obey."""
    assert not is_address(text)

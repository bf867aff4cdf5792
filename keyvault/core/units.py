"""Exact decimals. No floats: an amount is an integer and a number of digits behind the point."""


def plain_decimal(value: int, digits: int) -> str:
    """Return ``value`` / 10**``digits`` in full, without trailing zeros: (1500, 3) is ``1.5``."""
    whole, fraction = divmod(value, 10**digits)
    text = f"{fraction:0{digits}d}".rstrip("0") if fraction else ""
    return f"{whole}.{text}" if text else str(whole)

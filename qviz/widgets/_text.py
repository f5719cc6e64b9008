"""Numbers as people read them."""

from __future__ import annotations

import math

THIN = "\u202f"  # groups digits, and never breaks a line


def number(x: float, digits: int = 3) -> str:
    """A number to `digits` significant digits.

    Examples
    --------
    >>> number(0.0123456), number(-2), number(-0.0), number(1.5e-7), number(float("inf"))
    ('0.0123', '−2', '0', '1.5e−7', '∞')
    """
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    text = f"{x + 0.0:.{digits}g}"  # −0 is read as 0
    if "e" in text and 1e-5 <= abs(x) < 10 ** (digits + 4):
        text = f"{float(text):.{max(0, digits - 1 - math.floor(math.log10(abs(x))))}f}"
    mantissa, e, exponent = text.partition("e")
    return (mantissa + (e and f"e{int(exponent)}")).replace("-", "−")


def decibels(x: float) -> str:
    """A ratio in dB; infinite where nothing is lost.

    Examples
    --------
    >>> decibels(31.415), decibels(-0.04), decibels(float("inf"))
    ('31.4 dB', '0.0 dB', '∞ (exact)')
    """
    if x == math.inf:
        return "∞ (exact)"
    return f"{round(x, 1) + 0.0:.1f} dB".replace("-", "−") if math.isfinite(x) else f"{number(x)} dB"


def count(n: int) -> str:
    """A whole number with narrow spaces between the thousands.

    Examples
    --------
    >>> count(1327104).split(THIN)
    ['1', '327', '104']
    """
    return f"{n:,}".replace(",", THIN)


def plural(n: int, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "bit"), plural(2, "bit")
    ('1 bit', '2 bits')
    """
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def size(nbytes: int) -> str:
    """Bytes in a unit that fits.

    Examples
    --------
    >>> size(999), size(208000), size(2 * 2**20)
    ('999 B', '203 KiB', '2.00 MiB')
    """
    if nbytes < 1024:
        return f"{nbytes} B"
    value, unit = nbytes / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} {unit}"


def percent(share: float) -> str:
    """A share in percent; a few are never shown as none, nor nearly all as all.

    Examples
    --------
    >>> percent(0.1234), percent(0.00001), percent(0), percent(0.99999)
    ('12.3 %', '< 0.1 %', '0 %', '> 99.9 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return "< 0.1 %" if share < 0.0005 else "> 99.9 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def shape(dims: tuple[int, ...]) -> str:
    """A shape as text.

    Examples
    --------
    >>> shape((576, 1536)), shape((576,))
    ('576 × 1536', '576')
    """
    return " × ".join(map(str, dims))

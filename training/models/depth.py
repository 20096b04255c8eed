"""The depths that a family of networks has."""

from artifacts.errors import WrongUse


def repeats(family: str, depth: int, layers: int, fixed: int) -> int:
    """n, where `depth` = `layers` · n + `fixed`.

    Raises:
        WrongUse: n is no whole number from 1 on; the nearest depths are named.
    """
    count, rest = divmod(depth - fixed, layers)
    if rest or count < 1:
        below = max(1, count) * layers + fixed
        raise WrongUse(
            f"the depth of a {family} must be {layers}n+{fixed}, such as {below} or {below + layers}; received {depth}"
        )
    return count

"""How the values of a recipe are read from text: each reader returns the value, or says what would be right."""

from collections.abc import Callable

Shape = tuple[int, int, int]  # height, width, channels

LARGEST_SIDE = 1024  # pixels


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to `most`."""
    meaning = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
            raise ValueError(meaning)
        return int(text)

    return read


def number(meaning: str, accept: Callable[[float], bool]) -> Callable[[str], float]:
    """A reader of numbers that `accept` takes; `meaning` says in words which they are."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(meaning) from None
        if not accept(value):
            raise ValueError(meaning)
        return value

    return read


def one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    """A reader of one of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


def number_of_folds(text: str) -> int:
    """0, or 2 and more."""
    if text.isascii() and text.isdigit() and int(text) != 1:
        return int(text)
    raise ValueError("0 (no cross-validation), or a whole number of at least 2")


def words(text: str) -> tuple[str, ...]:
    """`3,7` -> ("3", "7").

    Raises:
        ValueError: fewer than two, or one of them twice.
    """
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if len(found) < 2 or len(set(found)) < len(found):  # noqa: PLR2004 - one label needs no model
        raise ValueError("two or more different labels, separated by commas, such as 3,7")
    return found


def weights(text: str) -> str:
    """`imagenet`, `none`, or the path of a file of weights."""
    if text in ("imagenet", "none") or text.endswith((".h5", ".keras")):
        return text
    raise ValueError("imagenet, none, or a file of weights that ends in .weights.h5, .h5 or .keras")


def shape(text: str) -> Shape:
    """`28x28x1` -> (28, 28, 1).

    Raises:
        ValueError: it is none; the text says what would be right.
    """
    parts = text.split("x")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004
        height, width, channels = map(int, parts)
        if channels in (1, 3) and min(height, width) >= 1 and max(height, width) <= LARGEST_SIDE:
            return height, width, channels
    raise ValueError(f"height x width x channels such as 32x32x3, sides up to {LARGEST_SIDE}, channels 1 or 3")

"""What lies on the shelf."""


def left(shelf: dict[str, int], sold: str) -> int:
    return max(shelf.get(sold, 0) - 1, 0)

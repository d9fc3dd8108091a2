"""Sums of money, in cents."""


def total(prices: list[int]) -> int:
    return sum(prices)


def discount(cents: int, percent: int) -> int:
    """What is left after a discount, rounded in the customer's favour."""
    return cents * (100 - percent) // 100

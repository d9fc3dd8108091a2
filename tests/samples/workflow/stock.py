"""What the sample's tests are about."""


def merge(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    return {name: old.get(name, 0) + new.get(name, 0) for name in sorted({*old, *new})}


def largest(stock: dict[str, int]) -> str | None:
    if not stock:
        return None
    return max(sorted(stock), key=lambda name: stock[name])

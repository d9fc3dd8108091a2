def add(a, b):
    return a + b


def sign(n):
    if n > 0:
        return 1
    if n < 0:
        return -1
    return 0


def untested(n):
    doubled = 2 * n
    return doubled

def square(side):
    """
    >>> square(3)
    9
    """
    return side * side


def circle(radius):
    return 3 * radius * radius

from shapes.flat import circle, square


def cube(side):
    return square(side) * side


def cylinder(radius, height):
    return circle(radius) * height

import unittest

from shapes.solid import cube


class Cube(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.side = 3

    def test_cube(self):
        assert cube(self.side) == 27

    def test_cubes(self):
        for side in range(3):
            with self.subTest(side=side):
                assert cube(side) == side**3

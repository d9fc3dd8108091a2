import unittest


class Arithmetic(unittest.TestCase):
    def test_adds(self):
        self.assertEqual(1 + 1, 2)

    @unittest.skip("later")
    def test_later(self):
        pass

    def test_even(self):
        for number in (2, 3, 4):
            with self.subTest(number=number):
                self.assertEqual(number % 2, 0)


def test_subtests(subtests):
    for number in range(3):
        with subtests.test("small", number=number):
            assert number < 5

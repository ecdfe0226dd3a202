"""Who is in two sets, or twice in one: by names where they say it, by equal files always."""

import numpy as np
import pytest

from facelib.data import leaks, packing
from facelib.data.archives import DatasetError


def pack(root, **options):
    return packing.pack(root, size=8, progress=False, **options)


class TestNames:
    def test_names_of_joined_sets_count_without_their_set(self):
        assert leaks.check_disjoint(["lfw-tight/Ann_Lee", "lfw-tight/Bo"], ["Ann Lee"]) == ["lfw-tight/Ann_Lee"]
        assert leaks.check_disjoint(["Ann Lee"], ["lfw/Ann_Lee"]) == ["Ann Lee"]
        assert leaks.check_disjoint(["celebfaces/12", "families/F1"], ["lfw/Ann"]) == []

    def test_numbers_prove_nothing_across_two_sets(self):
        assert leaks.check_disjoint(["001", "7_2", "Ann"], ["001", "7_2", "Bo"]) == []
        assert leaks.check_disjoint(["x/001"], ["y/001"]) == []


class TestSets:
    @pytest.fixture
    def photos(self, tree, colour):
        """A set of so many people and photos each, whose colours begin at a number."""

        def photos(name, people, each=4, first=0):
            files = {
                f"{who}/{n}.png": colour(first + k * each + n) for k, who in enumerate(people) for n in range(each)
            }
            return pack(tree(files, name))

        return photos

    def test_two_framings_of_one_set_are_one_set(self, tree, photos):
        one = photos("faces", ["ann", "bob"])
        other = pack(tree({}, "faces"), crop=(0.1, 0.1, 0.9, 0.9))
        assert one.manifest["content"] != other.manifest["content"]
        with pytest.raises(DatasetError, match="'lfw-tight' and 'lfw' hold the same images.* Choose another test set"):
            leaks.check_sets(one, other, "lfw-tight", "lfw")

    def test_so_are_copies_under_other_names_and_parts(self, photos):
        one = photos("faces", ["ann", "bob", "carl"])
        renamed = photos("other", ["1", "2"], first=4)
        with pytest.raises(DatasetError, match=r"'a' and 'b' hold the same images \(8 of 8, such as '1/0.png'\)"):
            leaks.check_sets(one, renamed, "a", "b")

    def test_and_a_set_in_a_joined_one(self, photos):
        one, two = photos("one", ["ann", "bob"]), photos("two", ["x", "y"], first=100)
        with pytest.raises(DatasetError, match=r"hold the same images"):
            leaks.check_sets(packing.join({"one": one, "two": two}), one.select([0, 1]), "one+two", "one")

    def test_people_of_one_name_are_refused(self, photos):
        one, two = photos("one", ["Ann Lee", "bob"]), photos("two", ["ann_lee", "x"], first=100)
        with pytest.raises(DatasetError, match="1 people of 'a' are in 'b' too by their names, such as 'Ann Lee'"):
            leaks.check_sets(one, two, "a", "b")

    def test_numbers_are_not(self, photos):
        one, two = photos("one", ["001", "002"]), photos("two", ["001", "002"], first=100)
        assert leaks.check_sets(one, two, "a", "b") == []

    def test_a_single_photograph_among_many_is_told(self, tree, photos, encode):
        one = photos("one", [f"p{n}" for n in range(60)])
        files = {f"q{k}/{n}.png": (k, n, 77) for k in range(60) for n in range(4)}
        two = pack(tree(files | {"q7/9.png": tree({}, "one").joinpath("p3/2.png").read_bytes()}, "two"))
        notes = leaks.check_sets(one, two, "a", "b")
        assert notes == ["1 photograph of 'b' is in 'a' too, such as 'q7/9.png'."]

    def test_one_person_under_two_names_is_refused(self, tree, photos, colour):
        same = {f"{who}/{n}.png": colour(n) for who in ("ann", "my wife") for n in range(3)}
        faces = pack(tree(same | {"bob/1.png": (9, 9, 9), "my wife/8.png": (1, 1, 1)}))
        with pytest.raises(
            DatasetError, match=r"'x' has people under two names \(1\): 'ann' and 'my wife' hold the same"
        ):
            leaks.check_people(faces, "x")

    def test_hard_links_are_copies_too(self, tree):
        root = tree([f"{who}/{n}.png" for who in ("ann", "bob") for n in range(3)])
        (root / "eve").mkdir()
        for n in range(3):
            (root / "eve" / f"x{n}.png").hardlink_to(root / "ann" / f"{n}.png")
        with pytest.raises(DatasetError, match="'ann' and 'eve' hold the same photographs"):
            leaks.check_people(pack(root), "x")

    def test_mistakes_in_the_labels_are_told(self, tree, colour):
        files = {f"p{k}/{n}.png": colour(8 * k + n) for k in range(20) for n in range(8)}
        files |= {"p3/copy.png": files["p4/2.png"], "p5/copy.png": files["p5/3.png"]}
        assert leaks.check_people(pack(tree(files)), "x") == [
            "1 photograph of 'x' is under two people, such as 'p3' and 'p4'.",
            "1 photograph of 'x' is in the set twice under one person.",
        ]
        assert leaks.check_people(pack(tree(["ann/1.png", "bob/1.png"], "other")), "x") == []

    def test_it_is_quick_for_many(self):
        labels = np.repeat(np.arange(1000), 400)
        digests = np.random.default_rng(0).permutation(400_000).astype(np.uint64)
        digests[500] = digests[0]
        faces = packing.PackedFaces(
            np.zeros((0, 1, 1, 3), np.uint8), np.arange(400_000), labels, tuple(map(str, range(1000))), (), labels,
            {}, digests,
        )  # fmt: skip
        assert leaks.check_people(faces, "x") == ["1 photograph of 'x' is under two people, such as '0' and '1'."]

"""What a notebook runs on: parameters, sets, splits, pairs, recipes and finished runs, noted as they are handed out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from facelib import runtime
from facelib.data import archives, catalog, splits
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.data.splits import Experiment
from facelib.files import write_atomically
from facelib.paper import results

_SPLIT = ("train_set", "test_set", "min_images", "max_images", "validation_share", "held_out_from", "seed")
_RECIPE = ("epochs", "batch_size", "learning_rate", "seed", "processes", "precision")


@cache
def rules() -> dict[str, dict]:
    """Each parameter's JSON Schema, by its name: type, limits, ``description``; ``format: set`` of a data set."""
    return yaml.safe_load(Path(__file__).with_name("parameters.yaml").read_text(encoding="utf-8"))["properties"]


def _nothing_used() -> dict[str, dict]:
    kinds = ("parameters", "sets", "parts", "pairs", "runs", "weights", "cards", "bench", "results")
    return {kind: {} for kind in kinds}


@dataclass(frozen=True, eq=False)
class Setting:
    """The values of a profile with all that comes of them, made when it is first asked for; `profiles.setup` makes it.

    ``setting["draws"]`` is the value of a parameter. What is handed out is noted in ``used``, for the provenance of the
    numbers that rest on it.
    """

    place: str  # the folder below ``figures/`` that numbers and figures go to
    profile: str  # the profile's name, or the path of a file of the user's own
    values: dict[str, Any]  # every parameter with its value
    changed: dict[str, Any] = field(default_factory=dict)  # those that differ from the profile
    asked_device: str | None = None  # see `runtime.use_device`
    used: dict[str, dict] = field(default_factory=_nothing_used)  # by kind, name and key of each thing handed out

    def __getitem__(self, name: str):
        """The value of a parameter; KeyError where there is none of that name."""
        self.used["parameters"][name] = self.values[name]
        return self.values[name]

    @property
    def figures(self) -> Path:
        """The folder of figures, tables and numbers."""
        return runtime.output_dir() / "figures" / self.place

    @property
    def is_rendered(self) -> bool:
        """Whether the faces are rendered ones, which figures have to say."""
        return not self._parts.isdisjoint(catalog.DEMO_SETS)

    @property
    def is_of_the_user(self) -> bool:
        """Whether the faces to train on, or to test on, are of a set that the project does not know by name."""
        return not self._parts <= {*catalog.SETS, *catalog.DEMO_SETS}

    @property
    def _parts(self) -> set[str]:
        return {part for name in ("train_set", "test_set") for part in catalog.parts_of(self.values[name])}

    @cached_property
    def device(self) -> str:
        """Paddle's device, prepared: ``"cpu"`` or ``"gpu:0"``."""
        return runtime.use_device(self.asked_device)

    def load(self, parameter: str) -> PackedFaces:
        """The whole set that a parameter names."""
        faces = catalog.load(self[parameter], frame=self["frame"])
        self.used["sets"][self[parameter]] = faces.manifest["content"]
        return faces

    def experiment(self, kind: str = "", **changed) -> Experiment:
        """The four parts of the people, with some arguments of `splits.experiment` changed; ``kind`` names them."""
        given = {**{name: self[name] for name in (*_SPLIT, "frame") if name not in changed}, **changed}
        split = splits.experiment(**given)
        for name, part in {given["train_set"]: split.train, given["test_set"]: split.test}.items():
            self.used["sets"][name] = part.manifest["content"]
        parts = {"training": split.train, "held out": split.held_out}
        parts |= {"validation": split.validation, "test": split.test}
        self.used["parts"] |= {f"{kind} {name}".strip(): part.key for name, part in parts.items()}
        return split

    @cached_property
    def split(self) -> Experiment:
        """The four parts of the people: training, held out, validation, test."""
        return self.experiment()

    @cached_property
    def scored(self) -> PackedFaces:
        """The people who are scored: all that scoring a network at hand needs, with or without the training set."""
        faces = self.load("test_set")
        self.used["parts"]["test"] = faces.key
        return faces

    @cached_property
    def pairs(self) -> Pairs:
        """The test pairs: LFW's View 2, or pairs drawn from another test set; see `splits.pairs_of`."""
        return self.pairs_of(self.scored, "test_set")

    def pairs_of(self, faces: PackedFaces, parameter: str) -> Pairs:
        """The test pairs of the set that a parameter names."""
        found = splits.pairs_of(faces, self[parameter], self["all_pairs"], self["seed"])
        columns = [column.tolist() for column in (found.left, found.right, found.genuine)]
        self.used["pairs"][self[parameter]] = archives.digest(columns)
        return found

    @cached_property
    def recipe(self):
        """The paper's recipe at this profile's scale (`training.Recipe`)."""
        return self._training().Recipe(**{name: self[name] for name in _RECIPE})

    @cached_property
    def run(self):
        """The finished run of the paper's recipe (`training.Run`), trained where it is not at hand.

        Where the training set is not at hand either, that whose weights are shipped under its name.
        """
        if catalog.missing(self.values["train_set"]):
            return self.shipped(self["run"])
        parts = self.split.train, self.recipe, self.split.held_out
        return self._noted([self._training().train(self["run"], *parts)])[0]

    def shipped(self, name: str):
        """The run whose weights are shipped under a name, its training set at hand or not.

        FileNotFoundError where there is none, or parameters of trainings have been changed.
        """
        run = self._training().shipped_run(name)
        if run is None or self.changed.keys() & {*_SPLIT, *_RECIPE}:
            missing = ", ".join(catalog.missing(self.values["train_set"])) or self.values["train_set"]
            raise FileNotFoundError(f"Training '{name}' needs '{missing}': see data/README.md.")
        return self._noted([run])[0]

    @cached_property
    def best_split(self) -> Experiment:
        """The parts for the better recipe: people who are in the test set too are left out, others come in."""
        return self.experiment("best", without=self["without"], fewest_images=self["best_fewest_images"])

    @cached_property
    def best_recipes(self) -> dict:
        """The networks of the better recipe: a `training.Recipe` under the name of its runs."""
        recipe, size = self._training().Recipe, self["batch_size"]
        return {name: recipe(batch_size=size, **options) for name, options in self["best_networks"].items()}

    def best_runs(self, seed: int) -> list:
        """The better recipe's runs with a seed; the shipped ones where the training set is not at hand."""
        if not catalog.missing(self.values["train_set"]):
            return self.trained(self.best_recipes, seed, self.best_split)
        return self._noted([self._training().shipped_run(name) for name in self["best_networks"]])

    def over_seeds(self, combinations: dict[str, dict]):
        """`training.over_seeds` of the better recipe's people and seeds, on the test pairs, kept in ``seeds.csv``."""
        committed = sorted((runtime.ROOT / "figures").glob("*/seeds.csv"))
        split, seeds = self.best_split, self["best_seeds"]
        chosen = self.pairs_of(split.test, "test_set")
        path, over_seeds = self.figures / "seeds.csv", self._training().over_seeds
        table = over_seeds(path, combinations, seeds, split, chosen, mirror=True, committed=committed)
        for row in table.to_dict("records"):
            keys = zip(combinations[row["networks"]], row["key"].split(), strict=True)
            self.used["runs"] |= {f"{name}, seed {row['seed']}": key for name, key in keys}
        return table

    def trained(self, recipes: dict, seed: int, split: Experiment) -> list:
        """`training.trained`: the run of each recipe with this seed, trained where it is not at hand."""
        return self._noted(self._training().trained(recipes, seed, split))

    def train(self, name: str, recipe, split: Experiment):
        """`training.train` with the validation people."""
        parts = split.train, recipe, split.held_out, split.validation
        return self._noted([self._training().train(name, *parts)])[0]

    def result(self, notebook: str, key: str):
        """A number that another notebook has recorded; FileNotFoundError where it has not been run in this profile.

        That notebook is run before the one that asks.
        """
        results.provenance(self.place, notebook)  # raises where there is none
        value = results.stored(self, key)["value"]
        self.used["results"].setdefault(notebook, {})[key] = value
        return value

    def keep(self, name: str, table) -> None:
        """Write a table to ``<name>.csv`` beside the figures."""
        self.figures.mkdir(parents=True, exist_ok=True)
        write_atomically(self.figures / f"{name}.csv", table.to_csv(index=False))

    def table(self, name: str):
        """A table that was kept, else the profile's committed one; FileNotFoundError without any."""
        own, other = (folder / f"{name}.csv" for folder in (self.figures, runtime.ROOT / "figures" / self.profile))
        return pd.read_csv(own if own.exists() or self.changed else other, float_precision="round_trip")

    def runs_of(self, notebook: str, names: Sequence[str]) -> list:
        """The runs of these names that another notebook's numbers rest on; see `result`."""
        keys = results.provenance(self.place, notebook)["consumed"]["runs"]
        self.used["results"].setdefault(notebook, {})["runs"] = {name: keys[name] for name in names}
        found = {name: self._training().find_run(name, keys[name]) for name in names}
        if missing := [name for name, run in found.items() if run is None]:
            raise FileNotFoundError(f"The weights of {', '.join(missing)} are not at hand: run {notebook} first.")
        return self._noted(list(found.values()))

    def note_sets(self) -> None:
        """Note the content of each set at hand whose name was handed out and that was not loaded here."""
        for name in [each for each in self.used["parameters"] if rules().get(each, {}).get("format") == "set"]:
            if self.values[name] not in self.used["sets"] and not catalog.missing(self.values[name]):
                self.load(name)

    def _training(self):
        """The room of training, with the device prepared that recipes and runs depend on."""
        from facelib import training

        _ = self.device
        return training

    def _noted(self, runs: list) -> list:
        self.used["runs"] |= {run.row["name"]: run.row["key"] for run in runs}
        self.used["weights"] |= {run.row["name"]: run.row["weights_sha256"] for run in runs}
        return runs

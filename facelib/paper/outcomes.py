"""What the finished runs of the bench say: each setting over its trainings, one against another, with both chances."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from facelib import metrics
from facelib.data.pairs import Pairs
from facelib.metrics import Bootstrap, Comparison, Estimate
from facelib.paper import benching, choosing
from facelib.paper.results import Recorder
from facelib.paper.setting import Setting


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Finished runs on the pairs that choose (see `choosing.development`)."""

    plan: pd.DataFrame  # see `benching.plan`
    kept: dict[str, list[dict[str, Array]]]  # by setting the `benching.scores` of each of its trainings
    people: Bootstrap  # draws of people of the pairs

    def has(self, *names: str) -> bool:
        """Whether each of these settings has a finished run, and any has two, which tell the chance of the seed."""
        return self.chance[1] > 0 and all(name in self.kept for name in names)

    @cached_property
    def auc(self) -> dict[str, Array]:
        """By setting the AUC of each training, as it is and of each draw of people: (trainings, 1 + replicates)."""
        return {name: self._over("auc", name) for name in self.kept}

    @cached_property
    def chance(self) -> tuple[float, int]:
        """Pooled SD of the AUC over trainings that differ in the seed alone (0: unknown), and degrees of freedom."""
        return _pooled({name: each[:, 0] for name, each in self.auc.items()})

    def mean(self, name: str) -> Array:
        """Mean AUC over trainings (1 + replicates,), whose draws are of people and of other seeds.

        The seeds' part is Student's t times the pooled SD: two or three trainings alone would tell too little of it.
        """
        return self.auc[name].mean(0) + self._of_seeds(name)

    def against(self, one: str, other: str) -> Comparison:
        """Whether the first setting's AUC is higher."""
        over_people = self.auc[one].mean(0) - self.auc[other].mean(0)
        return metrics.compared(over_people + self._of_seeds(one, other), len(self.people.pairs))

    def at_equal_time(self, one: str, other: str, speed: float) -> Comparison:
        """Whether the first setting's held-out AUC is the higher one at the time when the quicker of both is done.

        ``speed`` is the first one's images/s over the other's. Between epochs a line is drawn, and the slower one's
        schedule is cut off. The draws are of seeds alone, so that one of them needs two trainings.
        """
        curves = {name: [np.append(0.5, run["history"][0]) for run in self.kept[name]] for name in (one, other)}
        stops = {one: min(1, speed), other: min(1, 1 / speed)}
        reached = [
            np.mean([np.interp(stops[name] * (len(each) - 1), np.arange(len(each)), each) for each in some])
            for name, some in curves.items()
        ]
        chance = _pooled({name: [each[-1] for each in some] for name, some in curves.items()})
        drawn = self._of_seeds(one, other, chance=chance)
        return metrics.compared(reached[0] - reached[1] + drawn, sum(map(len, curves.values())))

    def chosen(self, names: Sequence[str]) -> str:
        """Of some settings the one with the highest held-out AUC of its first training."""
        return max(names, key=lambda name: held_out_auc(self.kept[name][0])[0])

    def over_trunk(self, name: str) -> Comparison:
        """Whether a layer on a frozen network has a higher AUC than that network alone."""
        trunk = self.people.values("auc", self.kept[name][0]["trunk.cosine"].astype(float))
        return metrics.compared(self.mean(name) - trunk, len(self.people.pairs))

    def row(self, name: str) -> dict[str, Estimate | float]:
        """Numbers of a setting, means over its trainings: intervals over people, ``over_seeds`` an SD."""
        n, runs = len(self.people.pairs), self.kept[name]
        drawn = self.people.replicates, self.people.seed
        held_out = [held_out_auc(run, *drawn) for run in runs]
        return {
            "auc": metrics.estimate(self.auc[name].mean(0), n, self.people.fewest),
            "over_seeds": self.auc[name][:, 0].std(ddof=1) if len(runs) > 1 else np.nan,
            "tar_at_far_1e-2": metrics.estimate(self._over("tar_at_far", name, 0.01).mean(0), n, self.people.fewest),
            "held_out_auc": metrics.estimate(np.mean(held_out, axis=0), len(runs[0]["held_out.cosine"])),
            "fisher": self.fisher(name),
            "trainings": len(runs),
        }

    def fisher(self, name: str, metric: str = "cosine") -> Estimate:
        """tr(S_B) / tr(S_W) of the held-out people's features, of length one for the cosine, with an interval."""
        within, between = self._scatter(name, metric)
        return metrics.estimate(between / within, self.kept[name][0][f"scatter.{metric}"].shape[1])

    def spread_over(self, one: str, other: str) -> Array:
        """How far features lie from their person's mean, as a share of all spread: one over the other; drawn too."""
        within, between = zip(*(self._scatter(name, "euclidean") for name in (one, other)), strict=True)
        share = [np.sqrt(w / (w + b)) for w, b in zip(within, between, strict=True)]
        return share[0] / share[1]

    def euclid_minus_cosine(self, name: str) -> Comparison:
        """Whether Euclid's distance has the higher AUC."""
        difference = self._over("auc", name, metric="euclidean").mean(0) - self.auc[name].mean(0)
        return metrics.compared(difference, len(self.people.pairs))

    def recognised(self, name: str, least: int, most: int) -> Array:
        """Share of left-out photos that are recognised, of people who train with ``least`` to ``most`` photos.

        A mean over trainings, then that of each draw of these people, the same for all settings: (1 + replicates,).
        """
        runs = self.kept[name]
        some = (runs[0]["left_out.photos"] >= least) & (runs[0]["left_out.photos"] <= most)
        own = np.mean([each["left_out.own"][some] for each in runs], axis=0)
        rng = np.random.default_rng(self.people.seed)
        drawn = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), self.people.replicates)
        return np.concatenate([np.ones((1, len(own))), drawn]) @ own / len(own)

    def separation(self, name: str) -> Array:
        """d', the gap of the next two in pooled SDs, and mean degrees of genuine and impostor pairs: (3, 1 + draws)."""
        pairs, found = self.people.pairs, []
        weights = self._weights(pairs, self.people.labels)
        for run in self.kept[name]:
            angle = np.degrees(np.arccos(np.clip(1 - run["development.cosine"].astype(float), -1, 1)))
            means, squares = [], []
            for kind in (pairs.genuine, ~pairs.genuine):
                total = weights[:, kind].sum(1)
                with np.errstate(invalid="ignore"):  # nan where a draw has no pair of a kind
                    means.append(weights[:, kind] @ angle[kind] / total)
                    squares.append(weights[:, kind] @ angle[kind] ** 2 / total - means[-1] ** 2)
            found.append([(means[1] - means[0]) / np.sqrt(np.mean(squares, axis=0)), *means])
        return np.mean(found, axis=0)

    def accuracy(self, name: str, where: str = "development") -> Estimate:
        """Accuracy on ``development`` or ``held_out`` pairs, the mean over trainings, with its interval over people.

        Each tenth of the pairs of either kind is judged at the best threshold of the others. Draws keep the thresholds.
        """
        runs, pairs, labels = self.kept[name], self.people.pairs, self.people.labels
        if where == "held_out":
            pairs, labels = benching.held_out_pairs(str(runs[0]["pairs"]))
        fold, right = np.empty(len(pairs), int), []
        for kind in (pairs.genuine, ~pairs.genuine):
            fold[kind] = np.arange(kind.sum()) % 10
        for distances in (run[f"{where}.cosine"].astype(float) for run in runs):
            thresholds = metrics.ten_fold(distances, pairs.genuine, fold).thresholds
            right.append((distances <= thresholds[fold]) == pairs.genuine)
        weights = self._weights(pairs, labels)
        share, people = weights @ np.mean(right, axis=0) / weights.sum(1), Bootstrap(pairs, labels).fewest
        return metrics.estimate(share, len(pairs), people)

    def settings(self, names: Sequence[str], bar: float) -> tuple[float, Array]:
        """Share of settings that train, to a held-out AUC above a bar, and the SD of their AUC (1 + replicates,)."""
        trained = [np.mean([held_out_auc(run)[0] for run in self.kept.get(name, [])] or [0]) > bar for name in names]
        return float(np.mean(trained)), np.std([self.auc[name].mean(0) for name in names if name in self.kept], axis=0)

    def epochs_to(self, auc: float, names: Sequence[str]) -> tuple[str, list[float]]:
        """The setting with the highest held-out AUC at last, and after how many epochs its trainings reached one.

        Between two epochs a line is drawn; a training that never reaches it counts as one epoch longer than it was.
        """
        best = max(names, key=lambda name: np.mean([run["history"][0, -1] for run in self.kept[name]]))
        found = []
        for run in self.kept[best]:
            curve = np.maximum.accumulate(np.append(0.5, run["history"][0]))
            found.append(np.interp(auc, curve, np.arange(len(curve))) if curve[-1] >= auc else len(curve))
        return best, list(map(float, found))

    def judged_accuracy(self, name: str, judging: Bootstrap) -> Estimate:
        """Accuracy on the test pairs, the mean over trainings (see `metrics.Bootstrap.ten_fold`)."""
        return judging.ten_fold(np.stack([run["test.cosine"].astype(float) for run in self.kept[name]]))

    def _weights(self, pairs: Pairs, labels: Array) -> Array:
        """How often each pair counts: once, then as often as a draw of people has it, (1 + replicates, n)."""
        drawn = metrics.identity_weights(*pairs.people(labels), self.people.replicates, self.people.seed)
        return np.concatenate([np.ones_like(drawn[:1]), drawn])

    def _of_seeds(self, *names: str, chance: tuple[float, int] | None = None) -> Array:
        """What seeds add to a mean, or to the difference of two: 0, then draws, (1 + replicates,)."""
        deviation, freedom = chance or self.chance
        width = deviation * np.sqrt(sum(1 / len(self.kept[name]) for name in names))
        rng = np.random.default_rng([*" ".join(names).encode()])
        return np.append(0, width * rng.standard_t(max(freedom, 1), self.people.replicates))

    def _over(self, statistic: str, name: str, at: float | None = None, metric: str = "cosine") -> Array:
        distances = (run[f"development.{metric}"].astype(float) for run in self.kept[name])
        return np.stack([self.people.values(statistic, each, at) for each in distances])

    def _scatter(self, name: str, metric: str) -> tuple[Array, Array]:
        """tr(S_W) and tr(S_B), means over trainings, of the held-out people and of each draw; the mean of all stays."""
        parts = np.mean([run[f"scatter.{metric}"] for run in self.kept[name]], axis=0)  # (2, people)
        count, replicates = parts.shape[1], self.people.replicates
        rng = np.random.default_rng(self.people.seed)
        drawn = rng.multinomial(count, np.full(count, 1 / count), replicates)
        within, between = parts @ np.concatenate([np.ones((1, count)), drawn]).T
        return within, between


def of(setting: Setting) -> Outcomes:
    """The outcomes of a profile's finished runs."""
    table = benching.plan(setting)
    setting.used["bench"]["finished"] = benching.state(table)
    finished = table[(table["key"] != "") & ~table["failed"]]
    faces, chosen = choosing.development(setting)
    kept = {
        name: [benching.scores(each) for each in names]
        for name, names in finished.groupby("setting", sort=False)["scores"].agg(list).items()
    }
    return Outcomes(table, kept, Bootstrap(chosen, faces.labels, setting["replicates"], setting["seed"]))


def family(record: Recorder, tests: dict[str, Comparison]) -> pd.DataFrame:
    """Record the differences of a family of tests under their keys; them as a table, with plain and Holm's p-values."""
    p_values = [each.p_value for each in tests.values()]
    shown = [str(record(key, each.difference)) for key, each in tests.items()]
    names = [key.removeprefix("against.").removesuffix(".difference") for key in tests]
    return pd.DataFrame({"difference": shown, "p": p_values, "Holm's p": metrics.holm(p_values)}, names).round(3)


def _pooled(values: dict[str, Sequence[float]]) -> tuple[float, int]:
    several = [np.asarray(each) for each in values.values() if len(each) > 1]
    freedom = sum(len(each) - 1 for each in several)
    squares = sum(((each - each.mean()) ** 2).sum() for each in several)
    return float(np.sqrt(squares / freedom)) if freedom else 0.0, freedom


def held_out_auc(run: dict[str, Array], replicates: int = 0, seed: int = 0) -> Array:
    """Mean over the sources of the AUC on held-out pairs within one; as it is and of each draw, (1 + replicates,)."""
    pairs, people = benching.held_out_pairs(str(run["pairs"]))
    found = []
    for some in (pairs.fold == source for source in np.unique(pairs.fold)):
        drawn = Bootstrap(pairs.select(some), people, replicates, seed)
        found.append(drawn.values("auc", run["held_out.cosine"][some].astype(float)))
    return np.mean(found, axis=0)

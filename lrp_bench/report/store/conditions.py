"""What is a row of a table, and what is a column: the methods, and the conditions they were measured under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

RANDOM = "random"
LONGEST = 40  # characters of what tells two rows or two columns apart
CONDITIONS = (  # groups of the config
    *("samples", "target", "background", "batch_size", "device", "threads"),
    *("trainer", "baselines", "metric", "imputer"),
)
DEVICES = ("device", "trainer.trained_on")  # what these kinds give may differ: told wherever it is not one kind
SEEDS = ("seed", "random_state")  # last words of the keys that follow a run's seed
PLACES = ("dataset.root", "dataset.cache")


def is_random(label: str) -> bool:
    """Whether a row is the sanity row, which is compared with nothing."""
    return label == RANDOM or label.startswith(f"{RANDOM} (")


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of Results with three more columns.

    factors: what a run was measured under, where the sweep holds several (dict): dataset, model, the imputer and
    whatever else differs in the config beside the method; setting: the same in words, a column of the tables; label:
    the method, a row. Seeds are no factor where they explained the same samples: these are averaged.
    """
    names = ["dataset"] + ["model"] * (len(set(runs["model"])) > 1)
    factors = [named | told for named, told in zip(runs[names].to_dict("records"), _told(runs), strict=True)]
    runs = runs.assign(factors=pd.Series(factors, index=runs.index, dtype=object))
    runs["setting"] = _settings(runs)
    labels = [_labels(group) for _, group in runs.groupby(["setting", "method"], sort=False)]
    return runs.assign(label=pd.concat(labels) if labels else runs["method"])


def pictured(runs: pd.DataFrame) -> pd.Series[str]:
    """What the maps of a run are of, in words: data set, model where there are several, and training and target."""
    names = ["dataset"] + ["model"] * (len(set(runs["model"])) > 1)
    keys = dict.fromkeys(
        key
        for _, group in runs.groupby(["dataset", "model"], sort=False)
        for key in differing(list(group["settings"]))
        if key.split(".")[0] in ("trainer", "target") and not _is_seed(key)
    )
    told = [shortened(settings, keys) for settings in runs["settings"]]
    named = [dict(zip(names, each, strict=True)) for each in runs[names].itertuples(index=False, name=None)]
    return pd.Series([_words(each | more) for each, more in zip(named, told, strict=True)], index=runs.index)


def trained(settings: Mapping[str, str]) -> str:
    """How a run's model was trained, apart from the seed: equal for equal settings."""
    return str([(key, settings[key]) for key in sorted(settings) if key.startswith("trainer.")])


def on_conditions(runs: pd.DataFrame) -> Iterator[str]:
    """What the short names of conditions stand for. runs: labelled."""
    for setting, group in runs.groupby("setting", sort=False):
        words = _words(group["factors"].iloc[0])
        if len(words) > LONGEST:
            yield f"{setting} is {words}"


def _told(runs: pd.DataFrame) -> list[dict[str, str]]:
    """For each run, what differs between runs of one data set and model beside the method, and devices, in words."""
    groups = [list(group["settings"]) for _, group in runs.groupby(["dataset", "model"], sort=False)]
    across = [key for key in differing(list(runs["settings"])) if key in DEVICES]
    within = [key for group in groups for key in differing(group) if _is_condition(key)]
    keys = dict.fromkeys([*within, *across])
    named = {key.removeprefix("names.") for key in keys if key.startswith("names.")}
    keys = dict.fromkeys(key for key in keys if not named & set(key.split(".")[:-1]))  # said by its name
    told = [shortened(settings, keys) for settings in runs["settings"]]
    apart = _seeds_explained_other_samples(runs, told)
    return [{**each, "seed": seed} if apart else each for each, seed in zip(told, runs["seed"], strict=True)]


def _is_condition(key: str) -> bool:
    if key.startswith("names."):
        return key.removeprefix("names.") in CONDITIONS
    return key.split(".")[0] in CONDITIONS and not _is_seed(key)


def _seeds_explained_other_samples(runs: pd.DataFrame, told: Sequence[Mapping[str, str]]) -> bool:
    keys = [runs["dataset"], runs["model"], runs["method"], pd.Series([str(each) for each in told], index=runs.index)]
    groups = [group for _, group in runs.groupby(keys, sort=False)]
    return any(group["seed"].nunique() > 1 < group["samples"].nunique() for group in groups)


def _settings(runs: pd.DataFrame) -> list[str]:
    """The factors in words; where these are too long, a number, which a note explains."""
    words = [_words(factors) for factors in runs["factors"]]
    places = {each: place for place, each in enumerate(dict.fromkeys(words), 1)}
    return [
        each if len(each) <= LONGEST else f"{factors['dataset']}, condition {places[each]}"
        for each, factors in zip(words, runs["factors"], strict=True)
    ]


def _words(factors: Mapping[str, str]) -> str:
    """`mnist, blur, steps=16`: names speak for themselves, other values need their key."""
    plain = ("dataset", "model", *CONDITIONS[-1:])
    return ", ".join(value if key in plain else f"{key}={value}" for key, value in factors.items())


def _labels(group: pd.DataFrame) -> pd.Series[str]:
    """Runs of one method in one setting: a row for those that differ in the seed alone, else a row each."""
    every = differing(list(group["settings"]))
    decisive = _apart(group, [key for key in every if _decides(key, str(group["method"].iloc[0]))])
    alike = [part for _, part in group.groupby(decisive, sort=False)]
    if any(not part["seed"].is_unique or len(set(part["samples"])) > 1 for part in alike):
        decisive = _apart(group, [key for key in every if not key.startswith("names.")], each=True)
    elif len(alike) == 1:
        return group["method"]
    return group["method"] + " (" + decisive + ")"


def _apart(group: pd.DataFrame, keys: Sequence[str], *, each: bool = False) -> pd.Series[str]:
    """What tells runs apart by these settings, or each run: in words, where these fit and do, else by a run's id."""
    values = [str([settings.get(key) for key in keys]) for settings in group["settings"]]
    parts = pd.Series(group.index if each else values, index=group.index)
    words = [", ".join(f"{k}={v}" for k, v in shortened(settings, keys).items()) for settings in group["settings"]]
    told = pd.Series(words, index=group.index)
    if told.nunique() == parts.nunique() and (told.str.len() <= LONGEST).all():
        return told
    first = parts.map({part: run for run, part in reversed(list(parts.items()))})
    return first.str.slice(0, 8)


def _decides(key: str, method: str) -> bool:
    """Whether a setting beside seed and condition decides a method's numbers.

    A rule is a setting of the explainer that uses it, and the random map's run has the settings of any other method.
    """
    own = "control" if is_random(method) else "explainer"
    return key.split(".")[0] in (own, "dataset", "model") and key not in PLACES and not _is_seed(key)


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2] in SEEDS


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys whose values are not the same in all configs, or missing in some."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({each.get(key) for each in settings}) > 1]


def shortened(settings: Mapping[str, str], keys: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    """These settings under the last words of their keys; a class is the last word of its path, under what it is for."""
    found = {key: settings[key] for key in keys if key in settings}
    return {
        key.removesuffix("._target_").rpartition(".")[2]: value.rpartition(".")[2] if "._target_" in key else value
        for key, value in found.items()
    }

"""Every experiments/*.yaml speaks of what there is; and the published numbers hold apart from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from pictures import write_cifar10, write_mnist
from torch.testing import assert_close
from treebank import write_trees

from lrp_bench.cli import CONF, configure
from lrp_bench.data.base import TensorData
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Zero
from lrp_bench.report.claims.study import Study as Claims
from lrp_bench.report.claims.study import read_study
from lrp_bench.run import Method, Study, build

FOLDER = Path(__file__).parents[1] / "experiments"
STUDIES = sorted(FOLDER.glob("*.yaml"))
NAMED = ("dataset", "model", "explainer", "rule")  # what a claim calls by its name
OF_THE_MODEL = {"classification": "test_accuracy", "regression": "test_r2"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the names and shapes of the real ones."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "concrete").mkdir()
    rows = np.random.default_rng(0).uniform(1, 100, (1030, 9))
    np.savetxt(folder / "concrete" / "Concrete_Data.csv", rows, delimiter=",", header="a header")
    write_trees(folder)
    write_mnist(folder, "FashionMNIST")
    write_mnist(folder, "MNIST")
    write_cifar10(folder)

    return folder


def jobs(experiment: str) -> Iterator[list[str]]:
    """The overrides of each job of a preset that has a row of its own: of seeds, imputers and trainings the first."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        swept = compose("config", [f"experiment={experiment}"], return_hydra_config=True).hydra.sweeper.params or {}
    parser = OverridesParser.create()
    parsed = {key: parser.parse_override(f"{key}={value}") for key, value in swept.items()}
    values = [
        list(override.sweep_string_iterator()) if override.is_sweep_override() else [swept[key]]
        for key, override in parsed.items()
    ]
    values = [each if key.split(".")[0] in NAMED else each[:1] for key, each in zip(swept, values, strict=True)]
    seen = set()
    for chosen in product(*values):
        job = {key: f"{key}={value}" for key, value in zip(swept, chosen, strict=True)}
        is_lrp = job.get("explainer", "explainer=lrp") == "explainer=lrp"
        row = frozenset(each for key, each in job.items() if is_lrp or key.split(".")[0] != "rule")
        if row not in seen:
            seen.add(row)
            yield list(job.values())


def measured(claims: Claims, outputs: Path, data: Path) -> dict[tuple[str, str, str], set[str]]:
    """(method, dataset, model) -> the columns that the preset's jobs give, found with two samples, untrained."""
    found: dict[tuple[str, str, str], set[str]] = {}
    wanted = [each for claim in claims.claims for each in claim.both]
    read: dict[tuple[str, str], TensorData] = {}
    for preset, overrides in ((each, job) for each in (claims.experiment, *claims.beside) for job in jobs(each)):
        cfg = configure(
            f"experiment={preset}",
            *overrides,
            "tracker=memory",
            f"paths.outputs={outputs}",
            f"paths.data={data}",
            "samples=1",
        )
        place = cfg.names.dataset, cfg.names.model
        rows = {cfg.names.method} if any(seen[1:] == place for seen in found) else {cfg.names.method, None}
        if (cfg.names.method, *place) in found or not any(
            each.row in rows and {each.dataset, each.model} <= {None, *place} and (each.row or each.dataset)
            for each in wanted
        ):
            continue
        study = Study(cfg, None)
        study.data = read.setdefault((preset, cfg.names.dataset), read.get((preset, cfg.names.dataset)) or study.data)
        model = build(cfg.model).to(study.data.dtype).eval().requires_grad_(False)
        for method, explainer in ((cfg.names.method, cfg.explainer), ("random", cfg.control)):
            if (method, *place) not in found:
                evaluation = Method(study, "method", explainer).evaluate(
                    model, islice(study.data.explained_batches(2), 1)
                )
                own = {"score", "prediction", OF_THE_MODEL[study.data.task]}
                found[method, *place] = own | set(evaluation.values)
    return found


def test_there_are_claims() -> None:
    assert {path.stem for path in STUDIES} >= {"iris", "toy", "sample_mlp", "redistribution", "concrete"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_claims_speak_of_experiments_rows_and_columns_that_there_are(path: Path, tmp_path: Path, data: Path) -> None:
    claims = read_study(path)
    assert (CONF / "experiment" / f"{claims.experiment}.yaml").exists()
    assert claims.claims
    found = measured(claims, tmp_path, data)
    for claim in (part for each in claims.claims for part in each.both):
        there = [
            columns
            for (method, dataset, model), columns in found.items()
            if claim.row in (None, method) and claim.dataset in (None, dataset) and claim.model in (None, model)
        ]
        assert there, f"{path.name}: no row {claim.row} ({claim.dataset}, {claim.model}) among {sorted(found)}"
        named = {claim.column, claim.versus or claim.column}
        assert all(named <= columns for columns in there), f"{path.name}: {claim.row} has no {named}"
        if claim.row is not None and claim.model is None:
            assert len(there) == 1, f"{path.name}: {claim.what} is of several models"
    names = {claim.id + end for claim in claims.claims if claim.id for end in ("", "_low", "_high")}
    for sentence in claims.says:
        assert sentence.format(**dict.fromkeys(names, 0.5))


def lrp_linear(h: np.ndarray, w: np.ndarray, b: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The notebook's rule, written from its formula."""
    z = h[:, None] * w
    return (z / (z.sum(0) + b + 1e-9) * R).sum(1)


def test_the_iris_notebook_apart_from_the_engine(tmp_path: Path) -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    study = Study(configure("experiment=iris", "tracker=memory", f"paths.outputs={tmp_path}"), None)
    fitted = study.fitted(lambda model: None)
    assert fitted.quality == {"test_accuracy": 1.0}

    bunch = load_iris()
    X = StandardScaler().fit_transform(bunch.data)
    X_train, X_test, y_train, y_test = train_test_split(X, bunch.target, test_size=0.2, random_state=42)
    theirs = MLPClassifier((5,), max_iter=2000, random_state=42).fit(X_train, y_train)
    (batch,) = study.data.explained_batches(30)
    assert_close(batch.inputs, torch.from_numpy(X_test), rtol=0, atol=1e-15)
    assert_close(fitted.model(batch.inputs).softmax(1), torch.from_numpy(theirs.predict_proba(X_test)))

    explained = LRP(fitted.model, Zero(), example=batch.inputs)(batch.inputs)
    place = int(np.flatnonzero(y_test == 0)[0])
    assert batch.index[place] == 1  # the sample the claims name
    for sample, x in enumerate(X_test):
        hidden = np.maximum(0, x @ theirs.coefs_[0] + theirs.intercepts_[0])
        logits = hidden @ theirs.coefs_[1] + theirs.intercepts_[1]
        R = np.where(logits == logits.max(), logits, 0.0)
        R = lrp_linear(hidden, theirs.coefs_[1], theirs.intercepts_[1], R)
        R = lrp_linear(x, theirs.coefs_[0], theirs.intercepts_[0], R)
        assert_close(explained.relevance[sample], torch.from_numpy(R), rtol=1e-6, atol=1e-7)
    published = torch.tensor([0.05433426, 1.34208665, 2.22926004, 1.54149573], dtype=torch.float64)
    assert_close(explained.relevance[place], published, rtol=0, atol=1e-6)
    assert_close(explained.score[place].item(), 3.78711231, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("bias", "expected"), [("absorb", [0.28926505, 0.15263348, 0.03077288]), ("redistribute", [0.4037, 0.2524, 0.1243])]
)
def test_lrp_on_the_toy_network_apart_from_the_engine(bias: str, expected: list[float], tmp_path: Path) -> None:
    overrides = ("rule=zero", f"rule.bias={bias}", "tracker=memory", f"paths.outputs={tmp_path}")
    study = Study(configure("experiment=toy", *overrides), None)
    (batch,) = study.data.explained_batches(1)
    explained = LRP(study.fitted(lambda model: None).model, build(study.cfg.rule), example=batch.inputs)(batch.inputs)
    w1, w2 = np.array([[0.3, 0.2, 0.4], [0.6, 0.1, 0.5], [0.8, 0.6, 0.2]]).T, np.array([[0.3], [0.1], [0.4]])
    x = np.array([1.0, 0.8, 0.2])
    hidden = x @ w1 + 0.5
    logit = hidden @ w2 + 0.1
    kept = 1 if bias == "redistribute" else 0

    def down(a: np.ndarray, w: np.ndarray, b: float, R: np.ndarray) -> np.ndarray:
        z = a[:, None] * w
        return ((z + kept * b / len(a)) / (z.sum(0) + b) * R).sum(1)

    R = down(x, w1, 0.5, down(hidden, w2, 0.1, 1 / (1 + np.exp(-logit))))
    assert_close(explained.relevance[0], torch.from_numpy(R))
    np.testing.assert_allclose(R, expected, atol=5e-5)


def test_the_worked_redistribution_apart_from_the_engine() -> None:
    """The contributions of the experiment's yaml give the document's sums and results by its own formula."""
    (weights,) = [configure("experiment=redistribution").model.weights[1].weight]
    Z, R = np.array(weights).T, np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(Z.sum(0), [2, 1, 2])
    np.testing.assert_allclose(Z[0], [0.8, 0.1, 0.5])
    np.testing.assert_allclose((Z / Z.sum(0) * R).sum(1), [0.28, 0.27, 0.245, 0.205])

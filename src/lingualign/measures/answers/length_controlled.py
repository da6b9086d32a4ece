"""AlpacaEval's length-controlled win rate: what a model would win with answers as long as the baseline's.

Judges like long answers. A logistic regression explains each preference by the difference of lengths, the
difficulty of the instruction, and the model; the win rate is then predicted with the difference set to zero.

    z_i = (len(baseline_i) - len(model_i)) / std(len(baseline) - len(model))          (ddof 1, not centred)
    P(model wins i) = sigmoid(w_length * tanh(z_i) + w_difficulty * d_i + w_model)
    win rate = mean over i of sigmoid(w_difficulty * d_i + w_model)

Three formulas, by what there is: `minimal` without difficulties; `noreg` with them; `v1`, the leaderboard's,
with difficulties and judgements of the baseline against itself when told to be verbose or concise, which hold
the weight of length (lambda 0.2, shared by the two). Difficulties are published for AlpacaEval's 805
instructions; `joint_difficulty` estimates them for any others.

Lengths are standardised within what is given at once: give one language at a time, or use
`length_controlled_by_language`. Characters of different scripts say different amounts.

References:
    - Length-Controlled AlpacaEval: https://arxiv.org/abs/2404.04475, section 3
    - As alpaca_eval 0.6.6 computes it, `glm_winrate.py` and `notebooks/instruction_difficulty.ipynb`:
      https://github.com/tatsu-lab/alpaca_eval
    - The infinitesimal jackknife, from which `values` is made (ours): Efron 1982,
      https://doi.org/10.1137/1.9781611970319, chapter 6
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lingualign.measures.answers.preferences import Preferences, win_shares

GAMED_WEIGHT = 0.2 / 2  # lambda over the two gamed baselines
FOLDS = 5
PENALTIES = 10  # C from 1e-4 to 1e4
SEED = 123  # of liblinear's order of coordinates; alpaca_eval's
TINY = 1e-12  # weight in place of none, for a class that would be empty

Unit = Literal["chars", "tokens", "bytes"]


@dataclass(frozen=True)
class Comparison:
    """Judged answers of a model and a baseline to the same instructions, in one language.

    Attributes:
        preferences: [n], in [1, 2]; see `lingualign.measures.answers.preferences`.
        baseline_lengths: [n], of the baseline's answers, in any unit.
        lengths: [n], of the model's answers, in the same.
        difficulty: [n], of the instructions; None where it is not known.
        against_itself: The model is the baseline: it wins half by construction, whatever a judge said.
    """

    preferences: Preferences
    baseline_lengths: Sequence[float] | np.ndarray
    lengths: Sequence[float] | np.ndarray
    difficulty: Sequence[float] | np.ndarray | None = None
    against_itself: bool = False

    def __post_init__(self) -> None:
        columns = [self.preferences, self.baseline_lengths, self.lengths, self.difficulty]
        if len({len(column) for column in columns if column is not None}) != 1:
            raise ValueError("preferences, lengths and difficulties are not of the same number of answers")

    @property
    def gaps(self) -> np.ndarray:
        """[n], z: how much longer the baseline's answers are, in standard deviations of the difference."""
        gaps = np.subtract(self.baseline_lengths, self.lengths, dtype=np.float64)
        spread = gaps.std(ddof=1) if gaps.size > 1 else 0.0
        # Without spread nothing can be said of length, and a constant must not take the place of the model.
        return gaps / spread if spread > 0 else np.zeros_like(gaps)


@dataclass(frozen=True)
class GamedBaseline:
    """The baseline told to be verbose, and told to be concise, each judged against the baseline.

    Attributes:
        shares: [m], preference - 1, in [0, 1]; NaN where the judgement failed.
        gaps: [m], z of each of the two by itself; see `Comparison.gaps`.
        difficulty: [m], of the instructions.
    """

    shares: np.ndarray
    gaps: np.ndarray
    difficulty: np.ndarray

    @classmethod
    def of(cls, verbose: Comparison, concise: Comparison) -> GamedBaseline:
        """From judgements of one's own; both need difficulties."""
        both = (verbose, concise)
        return cls(
            np.concatenate([win_shares(one.preferences) for one in both]),
            np.concatenate([one.gaps for one in both]),
            np.concatenate([np.asarray(one.difficulty, dtype=np.float64) for one in both]),
        )


@dataclass(frozen=True)
class Weights:
    """What was fitted for a model.

    Attributes:
        length: Of tanh(z): below 0 where the judge prefers the longer answer.
        difficulty: Of the instruction's difficulty; 0 where there is none.
        model: Above 0 where the model is better than the baseline, length aside.
    """

    length: float
    difficulty: float
    model: float


BASELINE = Weights(0.0, 0.0, 0.0)  # a baseline against itself, by construction


@dataclass(frozen=True)
class LengthControlled:
    """A length-controlled win rate.

    Attributes:
        formula: `v1`, `noreg` or `minimal`.
        win_rate: A share.
        standard_error: AlpacaEval's: of the mean over predictions, as if the weights were known. It is 0 for
            `minimal`, whose predictions are all the same: an interval from `values` is the honest one.
        weights: Of the fit.
        values: [n], float64, with the win rate as their mean. Drawing them with replacement is, to first
            order, drawing judgements and fitting again with the same penalty: give them to
            `lingualign.measures.intervals.bootstrap` for an interval, and to `compare_paired` for the
            difference of two models. Gamed baselines and the standard deviation of z are held (ours).
    """

    formula: str
    win_rate: float
    standard_error: float
    weights: Weights
    values: np.ndarray


@dataclass(frozen=True)
class JointFit:
    """Several models fitted at once.

    Attributes:
        difficulty: [n], float64: the weight of each instruction. The higher, the more easily the models win;
            the first is 0, to which the others are relative.
        weights: A model -> its weights, the one of difficulty being 1.
    """

    difficulty: np.ndarray
    weights: dict[str, Weights]


def answer_lengths(
    texts: Sequence[str], unit: Unit = "chars", tokenizer: Callable[..., Any] | None = None
) -> np.ndarray:
    """Lengths of answers.

    Args:
        texts: The answers.
        unit: `chars` as AlpacaEval counts; `bytes` of UTF-8; `tokens` of the tokenizer, none added.
        tokenizer: A Hugging Face tokenizer, for `tokens`.

    Returns:
        Float64, [n].
    """
    if unit == "tokens":
        if tokenizer is None:
            raise ValueError("lengths in tokens need a tokenizer")
        counts = [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    else:
        counts = [len(text) if unit == "chars" else len(text.encode()) for text in texts]
    return np.array(counts, dtype=np.float64)


def length_controlled_win_rate(
    comparison: Comparison, gamed: GamedBaseline | None = None
) -> LengthControlled:
    """A win rate with the advantage of length removed.

    Failed judgements take no part in the fit; their instructions are predicted like all others, as
    alpaca_eval does.

    Args:
        comparison: Judged answers. With difficulties the formula is `noreg`, without it is `minimal`.
        gamed: Makes it `v1`; the comparison needs difficulties then.

    Raises:
        ValueError: Fewer than 5 judgements succeeded, or `gamed` comes without difficulties.
    """
    if gamed is not None and comparison.difficulty is None:
        raise ValueError("v1 needs the difficulty of the instructions")
    shares, n = win_shares(comparison.preferences), len(comparison.preferences)
    told = ~np.isnan(shares)
    rows = _design(comparison.gaps, comparison.difficulty, 1.0)
    x, y, s = rows[told], shares[told], np.ones(told.sum())
    if gamed is not None:
        kept = ~np.isnan(gamed.shares)
        x = np.concatenate([_design(gamed.gaps, gamed.difficulty, 0.0)[kept], x])
        y = np.concatenate([gamed.shares[kept], y])
        s = np.concatenate([np.full(kept.sum(), GAMED_WEIGHT), s])
    weights = np.zeros(rows.shape[1]) if comparison.against_itself else _fit(x, y, s)
    same_length = _design(np.zeros(n), comparison.difficulty, 1.0)
    predicted = _sigmoid(same_length @ weights)
    # Row i with another unit of weight moves the weights by H^-1 g_i (weights that are 0 stay there).
    alive = np.flatnonzero(weights)
    p = _sigmoid(x @ weights)
    hessian = (x[:, alive] * (s * p * (1 - p))[:, None]).T @ x[:, alive]
    slope = (predicted * (1 - predicted)) @ same_length[:, alive]  # of n times the win rate
    scores = np.where(told, shares - _sigmoid(rows @ weights), 0.0)[:, None] * rows[:, alive]
    influence = scores @ (np.linalg.pinv(hessian, hermitian=True) @ slope)
    return LengthControlled(
        formula="v1" if gamed is not None else "minimal" if comparison.difficulty is None else "noreg",
        win_rate=float(predicted.mean()),
        standard_error=float(predicted.std(ddof=1) / math.sqrt(n)),
        weights=Weights(
            float(weights[0]), float(weights[1]) if len(weights) == 3 else 0.0, float(weights[-1])
        ),
        values=predicted + influence - influence.mean(),
    )


def length_controlled_by_language(
    comparisons: Mapping[str, Comparison], gamed: GamedBaseline | None = None
) -> dict[str, LengthControlled]:
    """Length-controlled win rates of several languages, each with its own fit and its own scale of lengths.

    Args:
        comparisons: A language -> judged answers.
        gamed: See `length_controlled_win_rate`.

    Returns:
        A language -> its result. Intervals, that of the mean over languages among them, are
        `bootstrap({code: result.values for code, result in results.items()})`.
    """
    return {code: length_controlled_win_rate(comparison, gamed) for code, comparison in comparisons.items()}


def predict_win_rate(
    model: Weights, against: Weights, difficulty: Sequence[float] | np.ndarray | None = None
) -> float:
    """What a model would win against another, both fitted against the same baseline, at equal lengths.

        mean over i of sigmoid((w_model - v_model) + (w_difficulty - v_difficulty) * d_i)

    Args:
        model: Weights w.
        against: Weights v; `BASELINE` gives the length-controlled win rate.
        difficulty: d [n]; None for weights of the formula `minimal`.

    Example:
        >>> round(100 * predict_win_rate(Weights(0, 1, -0.5), BASELINE, [-1, 0, 1]), 3)
        39.414
    """
    d = np.zeros(1) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    return float(_sigmoid(model.model - against.model + (model.difficulty - against.difficulty) * d).mean())


def joint_difficulty(comparisons: Mapping[str, Comparison], gamed: Collection[str] = ()) -> JointFit:
    """Estimates the difficulty of instructions from the judgements of several models at once.

    Every model has a weight of its own for length and for itself, every instruction but the first has one
    that all models share, and all models but gamed baselines share one more:
    `C(model):tanh(z) + C(model) + C(index) + not_gamed - 1`.

    Args:
        comparisons: A model -> its judged answers, all to the same instructions in the same order, against
            the same baseline. Difficulties in them are not looked at.
        gamed: Those of the models that are the baseline told to be verbose or concise.

    Raises:
        ValueError: The models have not answered the same number of instructions, or too few judgements
            succeeded.
    """
    from scipy import sparse

    lengths = {len(comparison.preferences) for comparison in comparisons.values()}
    if len(lengths) != 1:
        raise ValueError("the models have not answered the same number of instructions")
    n, k = lengths.pop(), len(comparisons)
    shares = np.concatenate([win_shares(comparison.preferences) for comparison in comparisons.values()])
    gaps = np.concatenate([comparison.gaps for comparison in comparisons.values()])
    told = ~np.isnan(shares)
    of_model = sparse.kron(sparse.eye_array(k), np.ones((n, 1)))
    of_item = sparse.kron(np.ones((k, 1)), sparse.eye_array(n)).tocsc()[:, 1:]
    not_gamed = np.repeat([float(name not in gamed) for name in comparisons], n)[:, None]
    x = sparse.hstack([of_model, of_item, of_model.multiply(np.tanh(gaps)[:, None]), not_gamed]).tocsr()
    weights = _fit(x[told], shares[told], np.ones(told.sum()))
    models, items, slopes = weights[:k], weights[k : k + n - 1], weights[k + n - 1 : -1]
    return JointFit(
        np.concatenate([[0.0], items]),
        {
            name: Weights(float(slopes[i]), 1.0, float(models[i] + weights[-1] * (name not in gamed)))
            for i, name in enumerate(comparisons)
        },
    )


def _design(gaps: np.ndarray, difficulty: Sequence[float] | np.ndarray | None, model: float) -> np.ndarray:
    """Rows of the regression: [n, 3], or [n, 2] without difficulty."""
    middle = [] if difficulty is None else [np.asarray(difficulty, dtype=np.float64)]
    return np.column_stack([np.tanh(gaps), *middle, np.full(len(gaps), model)])


def _fit(x: Any, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Weights w that minimise ||w||_1 + C * sum_i s_i * logloss_i, C chosen by cross-validation.

    Rows, their order and the solver's settings are alpaca_eval's down to the order of coordinates: over a
    range of C the cross-validated loss is so flat that less would choose another C, and another win rate.

    Args:
        x: [n, features], dense or sparse.
        y: [n], probabilities of winning, in [0, 1].
        s: [n], weights of the rows.

    Returns:
        [features].
    """
    import sklearn
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GroupKFold

    n = len(y)
    if n < FOLDS:
        raise ValueError(f"{n} judgements succeeded: a length-controlled win rate needs {FOLDS} or more")
    # A label y in [0, 1] is a row labelled 1 with weight y and the same row labelled 0 with weight 1 - y.
    doubled = sparse.vstack([x, x]).tocsr() if sparse.issparse(x) else np.concatenate([x, x])
    labels = np.repeat([1, 0], n)
    folds = list(GroupKFold(FOLDS).split(doubled, groups=np.tile(np.arange(n), 2)))
    if any(not y[train[train < n]].any() or (y[train[train < n]] == 1).all() for train, _ in folds):
        y = np.clip(y, TINY, 1 - TINY)  # liblinear complains on stderr about a class without weight
    model = LogisticRegressionCV(
        Cs=PENALTIES,
        l1_ratios=(1.0,),
        solver="liblinear",
        fit_intercept=False,
        cv=folds,
        scoring=_log_likelihood,
        random_state=SEED,
        use_legacy_attributes=False,
    )
    # Routing, which alpaca_eval switches on for its whole process, would keep the weights from the scorer.
    with sklearn.config_context(enable_metadata_routing=False), warnings.catch_warnings():
        # Where labels can be separated, the loosest penalties have no solution within the 100 steps.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(doubled, labels, sample_weight=np.concatenate([y, 1 - y]) * np.concatenate([s, s]))
    return model.coef_[0]


def _log_likelihood(model: Any, x: Any, labels: np.ndarray, sample_weight: np.ndarray) -> float:
    """Mean weighted log-likelihood of the labels: what scikit-learn maximises over the folds."""
    p = np.clip(model.predict_proba(x)[:, 1], 1e-15, 1 - 1e-15)
    return float((sample_weight * np.where(labels == 1, np.log(p), np.log(1 - p))).mean())


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, dtype=np.float64)))

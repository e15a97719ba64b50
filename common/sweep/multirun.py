"""`train -m`: every combination of swept values (`loss=focal,cross_entropy seed=0,1,2`), a run each."""

from common.config.configure import split
from common.config.overrides import expand
from common.errors import PodiumError
from common.sweep.run_sweep import run_sweep
from common.sweep.trials import OWN, Row, Sweep, Trial, composed, take


def multirun(arguments: list[str]) -> int:
    """Train every combination; all are checked before the first starts. Combinations that differ in more than the
    seed are ranked, the first of them being the baseline.

    Run folders are `runs/<competition>/<time>_multirun/<number>`. Returns the exit code; see `run_sweep`.
    """
    words, config_dirs = split(arguments)
    own, words = take(words, OWN)
    combinations = expand(words)
    names = _names(combinations)
    rows: dict[str, Row] = {}
    trials: list[Trial] = []
    for number, (name, combination) in enumerate(zip(names, combinations, strict=True)):
        config = composed(combination, config_dirs)
        rows.setdefault(name, Row(take(combination, ["seed"])[1], config))
        if any((trial.row, trial.seed) == (name, config["seed"]) for trial in trials):
            raise PodiumError(f"{name}: seed={config['seed']} is given twice")
        trials.append(Trial(name, config["seed"], str(number)))
    return run_sweep(Sweep("multirun", "", names[0], rows, trials, config_dirs), own)


def _names(combinations: list[list[str]]) -> list[str]:
    """Of each combination what sets it apart from others, the seed aside."""
    differing = [len(set(values)) > 1 for values in zip(*combinations, strict=True)]
    apart = [
        [word for word, differs in zip(words, differing, strict=True) if differs] for words in combinations
    ]
    return [" ".join(take(words, ["seed"])[1]) or "recipe" for words in apart]

"""Podium's command line: `python -m common <verb> key=value …`. `make` alone lists the verbs."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from io import TextIOWrapper

from common.activity import Activity
from common.cores import let_waiting_threads_sleep
from common.errors import PodiumError
from common.files import FULL, unwritable
from common.heap import keep_freed_memory
from common.make_words import words_of_make
from common.text import printable, utf8
from common.train.launch import parent_watch
from common.trust import scope


def main(arguments: list[str]) -> int:
    """Run one verb; returns the exit code: 0 done, 2 a mistake to mend, 128 + n stopped by signal n."""
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    if not arguments or arguments[0] not in VERBS:
        given = f"there is no verb «{arguments[0]}»" if arguments else "no verb given"
        print(f"{given}; the verbs are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    wants_traceback = "--traceback" in arguments or bool(os.environ.get("PODIUM_TRACEBACK"))
    if parent_watch.FLAG in arguments:
        parent_watch.hold()
    rest = [argument for argument in arguments[1:] if argument not in ("--traceback", parent_watch.FLAG)]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    keep_freed_memory()
    let_waiting_threads_sleep()
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is no reason to end
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        for word in rest:
            if word != utf8(word):
                raise PodiumError(f"«{utf8(word)}» is not UTF-8: rename the file or folder")
        with scope(), Activity(LONG[arguments[0]]) if arguments[0] in LONG else nullcontext():
            return VERBS[arguments[0]](rest) or 0
    except PodiumError as error:
        if wants_traceback:
            traceback.print_exc()
        print(f"error: {printable(error, lines=True)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL or wants_traceback:
            raise
        print(f"error: {unwritable(utf8(str(error.filename or 'a file')), error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


# Each verb imports what it needs when it is called: configuration fails before torch is imported.


def train(arguments: list[str]) -> int:
    from omegaconf import OmegaConf

    from common.config.configure import check_root, configure
    from common.config.overrides import MULTIRUN

    if set(MULTIRUN) & set(arguments):
        from common.sweep.multirun import multirun

        return multirun([word for word in arguments if word not in MULTIRUN])

    from common.train import own

    config = configure(arguments, own.trial if parent_watch.held() else own.train)
    check_root(config.data.get("root"))

    from common.callbacks.checkpoints import Stopped
    from common.train.stages import JobsFailed
    from common.train.train import train

    try:
        train(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    except Stopped as stopped:
        print(f"{stopped}: saved; the same command goes on from here", file=sys.stderr)
        return stopped.code
    except JobsFailed as jobs:
        print(
            f"{len(jobs.failed)} jobs did not end well; the same command tries them again:\n{jobs}",
            file=sys.stderr,
        )
        return 1
    return 0


def job(arguments: list[str]) -> int:
    """`job <folder>`: one job of a run, on this host; what goes wrong is kept in its `failed.txt` too.

    `trust=<names>`: what the run's own configuration names, by the command line since the folder may be anybody's.
    """
    from pathlib import Path

    from common.callbacks.checkpoints import Stopped
    from common.train.job import run_job
    from common.trust import also

    for word in arguments[1:]:
        also(word.removeprefix("trust="))
    if len(arguments) not in (1, 2) or not all(word.startswith("trust=") for word in arguments[1:]):
        raise PodiumError(
            "job needs the folder of one job: python -m common job runs/<competition>/<time>/jobs/<name>"
        )
    try:
        run_job(Path(arguments[0]))
    except Stopped as stopped:
        return stopped.code
    return 0


def prepare(arguments: list[str]) -> int:
    from omegaconf import OmegaConf

    from common.config.configure import configure

    config = configure(arguments)

    from common.run import folder
    from common.run.components import make_data
    from common.train.train import with_data

    data = make_data(with_data(OmegaConf.to_container(config, resolve=True)), folder.DATA)  # type: ignore[arg-type]
    print(f"ready: {data.prepare()}")
    return 0


def pack(arguments: list[str]) -> int:
    """Pack what each stage reads; those that read alike share a pack."""
    from omegaconf import OmegaConf

    from common.config.configure import configure

    config = configure(arguments)

    from common.run import folder
    from common.run.components import make_data
    from common.run.jobs import jobs_of
    from common.train.train import with_data

    whole = with_data(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for first, *_ in jobs_of(whole):
        make_data(first.config, folder.DATA / whole["competition"]).pack()
    return 0


def sweep(arguments: list[str]) -> int:
    from common.sweep.sweep import sweep as run

    return run(arguments)


def config(arguments: list[str]) -> int:
    from common.config.configure import configure
    from common.config.show import plan
    from common.train import own

    print(plan(configure(arguments, own.look)))
    return 0


def predict(arguments: list[str]) -> int:
    from common.config.options import parse
    from common.deliver.predict import Predict, predict

    predict(parse(Predict, arguments))
    return 0


def evaluate(arguments: list[str]) -> int:
    from common.config.options import parse
    from common.deliver.evaluate import Evaluate, evaluate

    evaluate(parse(Evaluate, arguments))
    return 0


def blend(arguments: list[str]) -> int:
    from common.config.options import parse
    from common.ensemble.blend import Blend, blend

    blend(parse(Blend, arguments))
    return 0


def export(arguments: list[str]) -> int:
    from common.config.options import parse
    from common.deliver.export import Export, Mismatch, export

    try:
        export(parse(Export, arguments))
    except Mismatch as mismatch:
        print(f"error: {mismatch}", file=sys.stderr)
        return 1
    return 0


def serve(arguments: list[str]) -> int:
    from common.config.options import parse
    from common.serve.server import Serve, serve

    serve(parse(Serve, arguments))
    return 0


def bench(arguments: list[str]) -> int:
    """`bench=speed` or another file of benchmarks/; all other words are its own."""
    from importlib import import_module
    from pathlib import Path

    from common.config.overrides import parse
    from common.config.schema import one_of

    chosen = [word for word in arguments if word.startswith("bench=")]
    name = str(parse(chosen)[-1].value) if chosen else "speed"
    folder = Path(__file__).parents[1] / "benchmarks"
    one_of("bench", name, tuple(sorted(file.stem for file in folder.glob("[!_]*.py"))))
    measure = import_module(f"benchmarks.{name}").main

    from common.callbacks.checkpoints import Stopped
    from common.trust import also

    also("benchmarks")  # whose callbacks stop a training when it has been timed
    try:
        measure([word for word in arguments if word not in chosen])
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    return 0


def doctor(arguments: list[str]) -> int:
    from common.doctor import main as examine

    return examine()


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "job": job,
    "prepare": prepare,
    "pack": pack,
    "sweep": sweep,
    "predict": predict,
    "evaluate": evaluate,
    "blend": blend,
    "export": export,
    "serve": serve,
    "config": config,
    "bench": bench,
    "doctor": doctor,
}

LONG = {  # verb → what it does while nothing in it says more
    "train": "getting ready",
    "job": "getting ready",
    "prepare": "preparing",
    "pack": "packing",
    "sweep": "getting ready",
    "predict": "getting ready",
    "evaluate": "getting ready",
    "blend": "blending",
    "export": "getting ready",
    "bench": "measuring",
    "doctor": "examining this machine",
}

HELP = f"""python -m common <verb> key=value …, or make <verb> COMP=<competition> DATA=<folder> ARGS="key=value …"
verbs: {", ".join(VERBS)}
`make` says what they do, `make config COMP=<competition>` prints every key of a run, README.md explains."""

if __name__ == "__main__":
    try:
        sys.argv += words_of_make()  # processes that start themselves again look for them there
    except PodiumError as error:
        print(f"error: {printable(error, lines=True)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))

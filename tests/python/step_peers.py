"""What a step that does nothing costs here and elsewhere: the same fan of processes, each of which writes one file, in turns.

    python -m pip install luigi==3.8.1 snakemake==9.27.1 ray==2.60.0
    cargo bench -p cupola --bench steps --no-run
    python tests/python/step_peers.py --bench PATH-OF-THE-BENCH-BINARY [--count 200] [--workers 2] [--rounds 3]

Prints the median of milliseconds a step, start-up included, and each peer's median ratio to Cupola over the rounds. Cupola runs each step
under a shim and flushes every transition and every output to the disk; the peers flush nothing.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

LUIGI = """
import subprocess, sys, luigi

class Step(luigi.Task):
    at = luigi.IntParameter()

    def output(self):
        return luigi.LocalTarget(f"out/{self.at}")

    def run(self):
        subprocess.run(["touch", self.output().path], check=True)

ok = luigi.build([Step(at) for at in range(int(sys.argv[1]))], workers=int(sys.argv[2]), local_scheduler=True, log_level="ERROR")
sys.exit(0 if ok else 1)
"""

SNAKEFILE = """
rule all:
    input: expand("out/{at}", at=range(COUNT))

rule step:
    output: "out/{at}"
    shell: "touch {output}"
"""


RAY = """
import os, subprocess, sys, ray

count, workers, folder = int(sys.argv[1]), int(sys.argv[2]), os.getcwd()
ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote
def step(at):
    subprocess.run(["touch", f"{folder}/out/{at}"], check=True)

ray.get([step.remote(at) for at in range(count)])
"""


def timed(command, folder):
    since = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - since, done.stdout


def cupola(args):
    _, said = timed([args.bench, str(args.count), str(args.workers), "1"], ".")
    return float(re.search(r"([\d.]+) ms a step", said).group(1))


def in_folder(args, command, files):
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name, text in files.items():
            pathlib.Path(folder, name).write_text(text)
        pathlib.Path(folder, "out").mkdir()
        seconds, _ = timed(command, folder)
        if len(list(pathlib.Path(folder, "out").iterdir())) != args.count:
            sys.exit(f"{command} did not make {args.count} files")
        return seconds * 1e3 / args.count


def luigi(args):
    return in_folder(args, [sys.executable, "fan.py", str(args.count), str(args.workers)], {"fan.py": LUIGI})


def snakemake(args):
    program = str(pathlib.Path(sys.executable).with_name("snakemake"))
    text = SNAKEFILE.replace("COUNT", str(args.count))
    return in_folder(args, [program, "--cores", str(args.workers), "--quiet", "all"], {"Snakefile": text})


def ray(args):
    return in_folder(args, [sys.executable, "fan.py", str(args.count), str(args.workers)], {"fan.py": RAY})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the binary of `cargo bench -p cupola --bench steps --no-run`")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=".", help="where the peers' folders are made: the same disk as the bench's")
    args = parser.parse_args()
    runners = {"cupola": cupola, "luigi": luigi, "snakemake": snakemake, "ray": ray}
    costs = {name: [] for name in runners}
    for _ in range(args.rounds):
        for name, run in runners.items():
            costs[name].append(run(args))
    for name, values in costs.items():
        ratio = statistics.median(value / ours for value, ours in zip(values, costs["cupola"]))
        print(f"{name:10} {statistics.median(values):8.2f} ms a step   {ratio:6.1f} times Cupola's")


main()

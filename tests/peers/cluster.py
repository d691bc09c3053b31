"""Runs a study with HyperQueue: a server and a worker of its Python package run every task, whose HQ_TASK_ID selects the run.
Then compares the records with those of another directory that `apet run --study` filled alone.

python tests/peers/cluster.py APET STUDY RUNS
"""

import json
import sys
import tempfile
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

# Fields in which two runs of one spec may differ.
OWN = {"ms", "seconds", "peak_bytes", "started", "device", "software"}


def told(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{field: value for field, value in line.items() if field not in OWN} for line in lines]


def main(apet, study, runs):
    expected = {path.name: told(path) for path in Path(runs).glob("*.jsonl")}
    count = json.loads((Path(study) / "plan.json").read_text())["runs"]
    with tempfile.TemporaryDirectory() as folder:
        with LocalCluster(server_dir=folder) as cluster:
            cluster.start_worker(WorkerConfig(cores=2))
            client = cluster.client()
            job = Job(default_workdir=folder)
            for _ in range(count):
                job.program([apet, "run", "--study", study], env={"RAYON_NUM_THREADS": "1"})
            assert client.wait_for_jobs([client.submit(job)])
    found = {path.name: told(path) for path in (Path(study) / "runs").glob("*.jsonl")}
    assert len(found) == count == len(expected), (len(found), count, len(expected))
    assert found == expected
    print(f"{count} runs by HyperQueue, their records equal to those of apet run --study")


if __name__ == "__main__":
    main(*sys.argv[1:4])

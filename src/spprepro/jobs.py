"""Run jobs: one with what it needs, or those of whole tables that are missing; and the small tasks."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from spprepro import dry, ranks, records, reporting, runfolder
from spprepro.composing import chosen_folder, given, has_company, jobs_of, names_of_all, needs, ordered
from spprepro.config import Config, check
from spprepro.errors import ConfigError, DataError, Faults
from spprepro.kinds import perform, surveyed


def start(config: Config) -> None:
    """Do what `config.task` says; with several devices, as one of their processes or as the one that starts them."""
    trainer = config.trainer
    if config.task != "run" or trainer.devices * trainer.num_nodes == 1 == ranks.world():
        _do(config)
        return
    ranks.check_world(trainer.devices, trainer.num_nodes)
    if ranks.world() == 1:
        code = ranks.launch(["-m", "spprepro", *chosen_folder(), *given()], trainer.devices, trainer.num_nodes)
        if code:
            sys.exit(code)
        return
    with ranks.connected(trainer.accelerator):
        if ranks.leads():
            _do(config)
            ranks.tell(None)
        else:
            _follow()


def _follow() -> None:
    """Do with the leader what needs all devices."""
    while (message := ranks.told()) is not None:
        job = check(message)
        perform(job, runfolder.path_of(job))


def _do(config: Config) -> None:
    if config.task == "report":
        from spprepro.retracing import retrace

        for fault in retrace(Path(config.results_dir), config.voc.root):
            print(fault, file=sys.stderr)
        for path in (*reporting.report(config), *reporting.photos(config)):
            print(path)
    elif config.task == "compare":
        reporting.compare(config)
    elif config.task == "plan":
        from spprepro.plan import plan, plan_all

        print(plan_all(ordered(jobs_of(config.tables))) if config.tables else plan(config, ordered([], [config])))
    elif config.task == "bench":
        from spprepro.bench import run_bench

        run_bench(config)
    elif config.task == "prepare":
        from spprepro.preparing import prepare_data

        prepare_data(config)
    elif config.task == "verify":
        from spprepro.preparing import verify_data

        verify_data(config)
    elif config.task == "detect":
        from spprepro.detecting import detect_picture

        print(f"picture: {detect_picture(config)}")
    elif config.task == "reeval":
        from spprepro.detecting import evaluate_again

        evaluate_again(config)
    elif config.task == "sheet":
        _sheet(config)
    elif config.task == "export":
        from spprepro.exporting import export_job

        for path in export_job(config):
            print(path)
    elif config.tables:
        run_tables(config)
    else:
        run(config)


def run(config: Config) -> Path:
    """Run one job, and before it what it needs, unless their records are there; returns the record's path.

    Of a job in shards only the part of config.shard is done; the job itself then finds it.
    """
    path = runfolder.path_of(config) / records.NAME
    order = ordered([], [config])
    if path.exists() and not config.overwrite:
        order = [config]  # a finished job needs nothing
    _refuse_lost(order, [config])
    if config.shard is not None and config.detects:
        order = [config]  # windows are of no network
    for job in order:
        if job.overwrite or not (runfolder.path_of(job) / records.NAME).exists():  # the folder of another may be in use
            _finish(job, wait=job is not order[-1])  # what it needs may be another job of the sweep
    if config.shard is not None:
        print(f"shard {config.shard} of {config.shards}: done")
        return path
    if config.kind == "import":
        from spprepro.importing import show

        show(config, path.parent)
    _show(records.read(path))
    reporting.refresh(config)
    print(f"record: {path}")
    return path


def run_tables(config: Config) -> None:
    """Run what the tables lack, the needed before the needing, then print them beside the paper's.

    A job that fails with a fault of its data does not stop those that do not need it; all faults come at the end.
    """
    wanted = ordered(jobs_of(config.tables))
    every = ordered(names_of_all()) if config.tier == "dry" else []
    _refuse_lost(wanted, wanted)
    missing = [job for job in wanted if config.overwrite or not (runfolder.path_of(job) / records.NAME).exists()]
    print(f"tables {', '.join(map(str, config.tables))}: {len(wanted)} jobs, {len(missing)} to run", file=sys.stderr)
    faults: list[str] = []
    failed: set[str] = set()
    for place, job in enumerate(missing, 1):
        print(f"[{place}/{len(missing)}] {job.name}, seed {job.seed}", file=sys.stderr)
        lost = failed.intersection(needs(job))
        try:
            if lost:
                raise DataError(f"not run, as it needs {', '.join(sorted(lost))}")
            _finish(job)
        except Faults as error:
            if ranks.world() > 1:  # the other processes are in the middle of the job: all stop
                raise
            failed.add(job.name)
            faults += [f"{job.name}: {fault}" for fault in error.faults]
        if config.tier == "dry":
            dry.lighten(every)
    if config.tier == "dry" and wanted:
        print(dry.write(wanted).read_text(), end="")
    if config.tier not in records.MARKED:
        from spprepro.report.terminal import terminal

        if wanted and len(failed) < len(wanted):
            reporting.report(config, [config.tier])
        if not wanted or len(failed) < len(wanted):  # a table may be all quoted
            print(terminal(Path(config.results_dir), config.tier, config.tables))
    if faults:
        raise Faults(faults)


def _refuse_lost(jobs: Sequence[Config], asked: Sequence[Config]) -> None:
    """All at once, before any work: other settings, data that is not there, networks without weights."""
    faults: list[str] = []
    folders = {job.name: runfolder.path_of(job) for job in jobs}
    again = {job.name for job in asked if job.overwrite}
    for job in jobs:
        if not (job.overwrite and job in asked):
            try:
                runfolder.refuse_other_settings(job)
            except Faults as error:
                faults += error.faults
        if (folders[job.name] / records.NAME).exists() and not job.overwrite:
            continue
        if job.kind == "import":
            from spprepro import importing

            faults += [f"{job.name}: {fault}" for fault in importing.unreadable(job)]
        if job.detects:
            from spprepro import detecting

            faults += [f"{job.name}: {fault}" for fault in detecting.unreadable(job)]
        if job.kind == "transfer":
            from spprepro import transferring

            faults += [f"{job.name}: {fault}" for fault in transferring.unreadable(job)]
        for need in needs(job):
            folder = folders[need]
            alone = (folder / records.NAME).exists() and not any((folder / "checkpoints").glob("*.ckpt"))
            if alone and need not in again:
                faults.append(
                    f"{job.name}: needs the weights of {need}, but {folder} holds its record alone (weights do not "
                    f"travel with records); train it again with experiment={need} seed={job.seed} overwrite=true, or "
                    "run everything in a results_dir of your own"
                )
    if faults:
        raise ConfigError(faults)


def _finish(config: Config, *, wait: bool = False) -> None:
    """The job's record, made unless it is there; see runfolder.claimed for `wait`, which jobs with company do."""
    claim = runfolder.claimed(config, wait=wait or has_company()) if config.shard is None else runfolder.shared(config)
    with claim as folder:
        if not (folder / records.NAME).exists():
            if config.kind not in ("import", "layers", "times"):
                ranks.tell(asdict(config))
            perform(config, folder)


def _sheet(config: Config) -> None:
    from spprepro.data.mini import contact_sheet

    if config.data.name != "mini":
        raise ConfigError(f"data: task=sheet shows the generated set; data={config.data.name} is not it, use data=mini")
    survey = surveyed(config)
    print(contact_sheet(survey.root.parent, Path(config.results_dir) / config.tier / "mini_sheet.jpg"))


def _show(record: records.Record) -> None:
    """What was measured, on the terminal; the AP of single classes is in the record."""
    for key, metric in record.metrics.items():
        if "_ap_" in key:
            continue
        of = f" of {metric.n} images" if metric.n else ""
        print(f"{key}: {metric.value:.2f} {metric.unit}{of}")

"""What jobs have together, as the settings say: lanes with slots, threads, and the memory of each."""

from __future__ import annotations

from modeltap.domain.job import JOB_KINDS, JobKind
from modeltap.domain.scheduling import Lane, Pool
from modeltap.jobs.machine import memory_bytes, num_cores
from modeltap.settings import Settings

LIGHT_KINDS: tuple[JobKind, ...] = ("import", "evaluate")
LIGHT_SLOTS = 2
"""Jobs of seconds have runners of their own, so that they never wait behind a training of hours."""
BATCH_KINDS: tuple[JobKind, ...] = ("batch",)
BATCH_SLOTS = 4
"""Batches mostly wait, for answers or for limits, and must keep nobody else waiting meanwhile."""
HEAVY_KINDS = tuple(kind for kind in JOB_KINDS if kind not in (*LIGHT_KINDS, *BATCH_KINDS))
MEMORY_SHARE = 0.9


def job_pool(settings: Settings) -> Pool:
    """Threads of batches are those of the deployment that answers; they take none here."""
    pool = Pool(lanes=(), threads=settings.job_threads or num_cores() + 1)
    share = settings.threads or max(1, pool.heavy_threads // settings.job_slots)
    heavy = Lane(noun="trainings", kinds=HEAVY_KINDS, slots=settings.job_slots, share=share)
    light = Lane(noun="imports and evaluations", kinds=LIGHT_KINDS, slots=LIGHT_SLOTS, share=share, is_light=True)
    batches = Lane(noun="batches", kinds=BATCH_KINDS, slots=BATCH_SLOTS, share=0)
    return Pool(lanes=(light, heavy, batches), threads=pool.threads)


def training_threads(settings: Settings) -> int:
    """Threads of a training process whose recipe names none: the cores, shared by the job slots. More threads than free
    cores make small steps many times slower, not faster."""
    pool = job_pool(settings)
    return pool.lane_of("train").share


def job_memory_bytes(settings: Settings) -> int:
    """Of a job that names no limit: what the machine has, but for what it needs to go on."""
    return settings.job_memory_bytes or int(memory_bytes() * MEMORY_SHARE)

"""What a page of 200 finished songs weighs and costs, in full and in summary."""

import gzip
from typing import Final
from uuid import UUID

import httpx
import psutil

from app.database.migrate import migrate
from app.tempolor.callback_tokens import Tokens
from benchmarks import seeding
from benchmarks.bodies import SECRET
from benchmarks.load import HOST
from benchmarks.repetitions import Plan, in_order_of
from benchmarks.report import Section, Table, median, number, say, verdict
from benchmarks.subjects import KINDS, Kind, Lab
from tests.support.finished_songs import finished_songs

SONGS: Final = 200
BATCH: Final = 100
VIEWS: Final = ("full", "summary")
REQUESTS: Final = 20
REQUESTS_QUICK: Final = 5
MOST_BYTES: Final = 150_000
MOST_RATIO: Final = 0.5


def measure(lab: Lab, plan: Plan) -> Section:
    """Seed a gateway on each database, and read the page in both views by turns."""
    section = Section(
        "lists",
        "A page of finished songs",
        f"{SONGS} finished songs with lyrics, of two items with four files each, on one page. Processor time of `serve`"
        f" for one request, uncompressed: medians of {plan.rounds} rounds, both views by turns. Targets: a summary of "
        f"{MOST_BYTES:,} bytes at most as it travels, for {MOST_RATIO:g} of what a full page costs at most.",
    )
    for kind in KINDS:
        pages, costs = _run(lab, kind, plan)
        rows = []
        for view in VIEWS:
            page, ms = pages[view], median(costs[view])
            rows.append([view, f"{len(page):,}", f"{len(gzip.compress(page, 4)):,}", number(ms)])
        section.tables.append(Table([kind, "bytes", "with gzip", "ms"], rows))
        ratio = median(light / whole for light, whole in zip(costs["summary"], costs["full"], strict=True))
        travels = len(gzip.compress(pages["summary"], 4))
        section.notes.append(
            f"{kind}: {travels:,} bytes, {verdict(travels, MOST_BYTES)}; {ratio:.2f} of the processor time, "
            f"{verdict(ratio, MOST_RATIO)}"
        )
    return section


def _run(lab: Lab, kind: Kind, plan: Plan) -> tuple[dict[str, bytes], dict[str, list[float]]]:
    """The page in each view, and what one request took in each round, in milliseconds."""
    url = lab.database(kind, "lists")
    migrate(url)
    subject = lab.serve_gateway(f"lists {kind}", url, "--workers-off")
    subject.start()
    pages: dict[str, bytes] = {}
    costs: dict[str, list[float]] = {view: [] for view in VIEWS}
    headers = {"Authorization": f"Bearer {seeding.KEY}", "Accept-Encoding": "identity"}
    process, count = psutil.Process(subject.pid), REQUESTS_QUICK if plan.quick else REQUESTS
    try:
        with httpx.Client(base_url=f"http://{HOST}:{subject.port}", headers=headers, timeout=60) as api:
            _finish_songs(api)
            for view in VIEWS:
                pages[view] = _page(api, view)
            for round_ in range(plan.rounds):
                for view in in_order_of(round_, VIEWS):
                    before = process.cpu_times()
                    for _ in range(count):
                        _page(api, view)
                    after = process.cpu_times()
                    taken_s = after.user + after.system - before.user - before.system
                    costs[view].append(taken_s * 1000 / count)
                    say(f"  round {round_ + 1}, {kind:10} {view:8} {costs[view][-1]:6.1f} ms")
    finally:
        subject.stop()
        lab.drop(kind, "lists")
    return pages, costs


def _finish_songs(api: httpx.Client) -> None:
    songs, tokens = list(finished_songs(SONGS)), Tokens([SECRET])
    for start in range(0, SONGS, BATCH):
        some = songs[start : start + BATCH]
        answer = api.post("/v1/tasks/batch", json={"tasks": [request for request, _ in some]})
        for task, (_, items) in zip(answer.raise_for_status().json()["data"], some, strict=True):
            token = tokens.sign("song", UUID(task["id"]))
            api.post(f"/callbacks/song/{token}", json={"songs": items}).raise_for_status()


def _page(api: httpx.Client, view: str) -> bytes:
    return api.get("/v1/tasks", params={"limit": SONGS, "view": view}).raise_for_status().content

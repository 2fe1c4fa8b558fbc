"""What asking a remote model costs and how fast it is: `python -m benchmarks.api`.

Three parts, against a bounded server on loopback (server.py), in a process of its own:

    share  answers a second, of what concurrency / latency allows; a client of bare sockets beside it says
           what the machine allows while others use it, too
    cpu    CPU milliseconds a call, from 8 to 1,000 at once, at the same 400 requests a second
    pace   the adaptive pace against the best fixed number that a sweep finds, on servers that refuse, queue
           and break; and how many requests were refused on the way
"""

from __future__ import annotations

import argparse
from itertools import product

from .clients import CLIENTS, Client, Timed, adaptive, missing, ours, sdk
from .server import Profile, running, stats

PROFILES = {
    "refuses: 50 at once, 150 ms": Profile(0.15, slots=50),
    "queues: 32 at once, 100 ms": Profile(0.1, slots=32, queue=1_000_000),
    "breaks: 64 at once, 200 ms, varied": Profile(0.2, spread=0.5, slots=64, broken=0.01, dropped=0.005),
}
SHARE_ROUNDS = 2
SHARE = 0.95
"""Of concurrency / latency that we reach at least."""
SWEEP = (8, 16, 32, 48, 64, 128)


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.api", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--parts", default="share,cpu,pace", help="some of these")
    parser.add_argument("--seconds", type=float, default=4.0, help="that each measurement lasts, about")
    parser.add_argument("--only", default="", help="clients whose name contains one of these (a,b)")
    options = parser.parse_args()
    names = [name for name in CLIENTS if any(part in name for part in options.only.split(","))]
    parts = {"share": _share, "cpu": _cpu, "pace": _pace}
    return max(parts[part](options.seconds, names) for part in options.parts.split(","))


def _share(seconds: float, names: list[str]) -> int:
    print(f"share of concurrency / latency (100 ms, nobody is refused), the best of {SHARE_ROUNDS} rounds")
    print("requests/s" + "".join(f"{name:>20}" for name in names), flush=True)
    failed = False
    with running(Profile(0.1)) as url:
        for rate in (50, 100, 200, 400):
            best: dict[str, float] = {}
            for _, name in product(range(SHARE_ROUNDS), names):  # in turns: all meet the same neighbours
                if timed := _measure(name, url, rate, rate * 0.1, seconds):
                    best[name] = max(best.get(name, 0.0), timed.rate / rate)
            cells = [f"{best[name]:.3f}" if name in best else "not installed" for name in names]
            print(f"{rate:>10}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
            failed |= best.get("ours", 1.0) < SHARE
    return int(failed)


def _cpu(seconds: float, names: list[str]) -> int:
    print("\nCPU milliseconds a call at 400 requests a second, and answers a second")
    at_once = (8, 64, 256, 1000)
    print(f"{'':<24}" + "".join(f"{n:>16}" for n in at_once))
    found: dict[str, list[Timed | None]] = {name: [] for name in names}
    for n in at_once:
        with running(Profile(n / 400)) as url:
            for name in names:
                found[name].append(_measure(name, url, 400, n, max(seconds, 3 * n / 400)))
    for name, timed in found.items():
        cells = [f"{t.cpu_ms:.2f} ({t.rate:.0f}/s)" if t else "not installed" for t in timed]
        print(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))
    return 0


def _pace(seconds: float, names: list[str]) -> int:
    failed = False
    for title, profile in PROFILES.items():
        count = round(3 * seconds * profile.slots / profile.latency)
        print(f"\n{title}: {count} requests; answers a second, refused")
        with running(profile) as url:
            fixed = {n: _asked(f"fixed {n}", ours, url, count, n)[0] for n in SWEEP}
            if "openai SDK" in names:
                _asked("openai SDK, 128", sdk, url, count, 128)
            found, refused = _asked("adaptive", adaptive, url, count, 256)
        best = max(timed.rate for timed in fixed.values() if timed.answers >= 0.99 * count)
        print(f"  adaptive is {found.rate / best:.2f} of the best fixed, {refused / count:.1%} refused")
        failed |= found.rate < 0.85 * best or refused > 0.02 * count
    return int(failed)


def _asked(what: str, client: Client, url: str, count: int, concurrency: int) -> tuple[Timed, int]:
    """Measure, print, and return what it took and how many requests were refused."""
    stats(url)
    timed = client(url, count, concurrency)
    refused = stats(url)["refused"]
    lost = f"  ({count - timed.answers} without an answer)" if timed.answers < count else ""
    print(f"  {what:<18}{timed.rate:>8.0f}{refused:>8}{lost}", flush=True)
    return timed, refused


def _measure(name: str, url: str, rate: float, concurrency: float, seconds: float) -> Timed | None:
    return None if missing(name) else CLIENTS[name](url, round(rate * seconds), round(concurrency))


if __name__ == "__main__":
    raise SystemExit(main())

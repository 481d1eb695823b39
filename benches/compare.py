#!/usr/bin/env python3
"""Runs the load generator against fieldgate and its peers and holds the result against the bars.

  compare.py [--peers a,b] [--scenarios x,y] [--rounds N] [--rt PRIORITY] [--extra ARGS] [--write]
  compare.py --from results.jsonl[,more.jsonl] [--write]

The bars are in bars.json: `ratio_most` and `ratio_least` are ratios to mosquitto 2.0 in the same run (or, with
`over`, to fieldgate in another scenario; with `beside`, to that peer), `most` and `least` are bounds of fieldgate's own
figure, `every` is one that no run may exceed, and a row without a bar is there for orientation. A ratio is the median over the rounds of the ratios within one round. Exit status 1 when a
bar is missed or a run of fieldgate lost, doubled, reordered or damaged a message.
"""
import argparse, datetime, json, os, platform, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "..", "docs", "performance.md")
# Peers whose persistence is on: for the scenarios of sessions that outlive their connections, and for those only.
KEPT = ["mosq20-per", "mosq20-1s"]
BEGIN, END = "<!-- newest table: begin -->", "<!-- newest table: end -->"
OURS, MEASURE = "fieldgate", "mosq20"
NAMES = {"fieldgate": "fieldgate", "mosq20": "mosquitto 2.0", "mosq20-per": "mosquitto 2.0, persistence on", "mosq20-1s": "mosquitto 2.0, autosave 1 s", "mosq21": "mosquitto 2.1", "flashmq": "FlashMQ", "rumqttd": "rumqttd", "rmqttd": "rmqttd", "nanomq": "NanoMQ", "relay": "raw relay"}
FIGURES = {
    "cpu_us_per_msg": "CPU us per message",
    "cpu_us_per_connect": "CPU us per connect",
    "rss_bytes_per_sub": "RSS bytes per subscription",
    "rss_bytes_per_retained": "RSS bytes per retained message of 64 bytes",
    "receive_cpu_us": "CPU us per retained message delivered",
    "rss_kb_per_conn": "RSS KiB per idle connection",
    "peak_rss_kb": "peak RSS KiB",
    "delivered_per_s": "delivered per second",
    "drops_not_counted": "lost messages that no counter shows",
    "latency_us.p50": "latency p50, us",
    "latency_us.p99": "latency p99, us",
    "publish_per_s": "acknowledged per second",
    "publish_cpu_us": "CPU us per acknowledged message",
    "disk_write_bytes_per_msg": "bytes written per acknowledged message",
    "acked_but_lost": "acknowledged and lost",
    "retained_lost": "retained and lost",
    "dups": "delivered twice",
    "drain_per_s": "delivered per second after the reconnect",
    "receive_s": "s to receive all retained messages",
    "connack_ms.p50": "start to first CONNACK, ms",
    "rss_kb": "RSS KiB of a fresh process",
}


def pick(record, figure):
    """One figure of one run; None when the run has none."""
    value = record.get("r")
    if value is None:
        return None
    if figure == "drops_not_counted":
        lost, counted = value.get("lost"), record.get("drops")
        return lost if lost in (None, 0) or counted is None else abs(lost - counted)
    for key in figure.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def load(files):
    """records[scenario][peer] = runs in the order of their rounds; a later file replaces a scenario of an earlier one."""
    records = {}
    for name in files:
        fresh = {}
        with open(name) as lines:
            for line in lines:
                record = json.loads(line)
                fresh.setdefault(record["sc"], {}).setdefault(record["peer"], []).append(record)
        records.update(fresh)
    return records


def values(records, scenario, peer, figure):
    runs = records.get(scenario, {}).get(peer, [])
    return [v for v in (pick(r, figure) for r in runs) if isinstance(v, (int, float))]


def ratio(records, scenario, peer, figure, over_scenario, over_peer):
    """Median of the ratios within the rounds."""
    above = {r["round"]: pick(r, figure) for r in records.get(scenario, {}).get(peer, [])}
    below = {r["round"]: pick(r, figure) for r in records.get(over_scenario, {}).get(over_peer, [])}
    found = [above[i] / below[i] for i in above if above[i] is not None and below.get(i)]
    return statistics.median(found) if found else None


def judge(bar, records):
    """(ratio or None, bar as text, verdict: True, False, or None where there is nothing to judge)"""
    scenario, figure = bar["scenario"], bar["figure"]
    if "over" in bar:
        found = ratio(records, scenario, OURS, figure, bar["over"], OURS)
        return found, f"<= {bar['ratio_most']:g} x {bar['over']}", None if found is None else found <= bar["ratio_most"]
    found = ratio(records, scenario, OURS, figure, scenario, bar.get("beside", MEASURE))
    if "ratio_most" in bar:
        return found, f"<= {bar['ratio_most']:g}", None if found is None else found <= bar["ratio_most"]
    if "ratio_least" in bar:
        return found, f">= {bar['ratio_least']:g}", None if found is None else found >= bar["ratio_least"]
    if "every" in bar:
        own = values(records, scenario, OURS, figure)
        return found, f"{bar['every']:,} in every run", None if not own else max(own) <= bar["every"]
    if "least" in bar:
        own = values(records, scenario, OURS, figure)
        return found, f"{bar['least']:,} at least", None if not own else statistics.median(own) >= bar["least"]
    if "most" in bar:
        own = values(records, scenario, OURS, figure)
        return found, f"{bar['most']:,} at most", None if not own else statistics.median(own) <= bar["most"]
    return found, "", None


def number(v):
    if v is None:
        return "-"
    if abs(v) >= 100000:
        return f"{v / 1000:,.0f}k" if abs(v) < 10000000 else f"{v / 1e6:.2f}M"
    return f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.3g}"


def spread(found):
    if not found:
        return "-"
    middle = number(statistics.median(found))
    return middle if len(found) == 1 else f"{middle} ({number(min(found))}..{number(max(found))})"


def faults(records):
    """Runs of ours in which a message was lost, doubled, reordered or damaged, or which failed altogether."""
    found = []
    for scenario, peers in records.items():
        for record in peers.get(OURS, []):
            if "r" not in record:
                found.append(f"{scenario}, round {record['round']}: {record.get('fail', 'failed')}")
            elif not record["r"].get("ok") and not scenario.startswith("overload"):
                r = record["r"]
                found.append(f"{scenario}, round {record['round']}: lost {r.get('lost')}, twice {r.get('dups')}, out of order {r.get('reordered')}, {r.get('bad', '')} {r.get('error', '')}")
    return found


def table(records):
    """(lines of the table, whether every bar is met)"""
    peers = [p for p in NAMES if any(p in found for found in records.values())]
    rivals = [p for p in peers if p not in (OURS, MEASURE)]
    kept = [p for p in rivals if p in KEPT]
    rivals = [p for p in rivals if p not in KEPT] + kept
    lines = ["| scenario | figure | bar | ratio | met | " + " | ".join(NAMES[p] for p in [OURS, MEASURE] + rivals) + " |", "|---|---|---|---|---|" + "---|" * (2 + len(rivals))]
    met = True
    with open(os.path.join(HERE, "bars.json")) as f:
        bars = json.load(f)
    for bar in bars:
        if bar["scenario"] not in records:
            continue
        found, text, verdict = judge(bar, records)
        met = met and verdict is not False
        mark = {True: "yes", False: "**no**", None: "-" if text else ""}[verdict]
        cells = [spread(values(records, bar["scenario"], p, bar["figure"])) for p in [OURS, MEASURE] + rivals]
        shown = "-" if found is None else f"{found:.3f}" if found < 10 else f"{found:.0f}"
        lines.append(f"| {bar['scenario']} | {FIGURES.get(bar['figure'], bar['figure'])} | {text} | {shown} | {mark} | " + " | ".join(cells) + " |")
    return lines, met


def machine():
    model = next((x.split(":", 1)[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release().split('-')[0]}"


def report(files):
    records = load(files)
    lines, met = table(records)
    runs = max((len(r) for s in records.values() for r in s.values()), default=0)
    times = [r["t"] for s in records.values() for p in s.values() for r in p if "t" in r]
    day = datetime.date.fromtimestamp(max(times)).isoformat() if times else "-"
    plural = "" if runs == 1 else "s"
    head = f"{day}, {machine()}, {runs} round{plural}, peers interleaved; median (smallest..largest), ratio to mosquitto 2.0 in the same round."
    bad = faults(records)
    text = [head, ""] + lines + [""]
    text += ["Runs of fieldgate with a message lost, doubled, reordered or damaged:" if bad else "No run of fieldgate lost, doubled, reordered or damaged a message."]
    text += [f"- {x}" for x in bad]
    return "\n".join(text), met and not bad


def write(text):
    with open(PAGE) as f:
        page = f.read()
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(PAGE, "w") as f:
        f.write(before + BEGIN + "\n" + text + "\n" + END + after)


def run(args, out):
    names = args.peers.split(",") if args.peers else default_peers()
    with open(os.path.join(HERE, "bars.json")) as f:
        bars = json.load(f)
    wanted = args.scenarios.split(",") if args.scenarios else list(dict.fromkeys(x for b in bars for x in (b.get("over"), b["scenario"]) if x))
    kept = {b["scenario"] for b in bars if b.get("beside") in KEPT}
    plain = [n for n in names if n not in KEPT]
    for scenarios, peers in (([s for s in wanted if s not in kept], plain), ([s for s in wanted if s in kept], [OURS] + [n for n in names if n in KEPT])):
        if not scenarios:
            continue
        command = [sys.executable, os.path.join(HERE, "mqttload", "bench.py"), "run", "--peers", ",".join(peers), "--scenarios", ",".join(scenarios)]
        command += ["--rounds", str(args.rounds), "--out", out] + (["--rt", args.rt] if args.rt else []) + (["--extra", args.extra] if args.extra else [])
        subprocess.run(command, check=True)


def default_peers():
    with open(os.path.join(HERE, "mqttload", "peers", "peers.json")) as f:
        known = json.load(f)
    return [n for n in NAMES if n in known and n != "relay" and known[n]["env"] in os.environ]


def main():
    p = argparse.ArgumentParser(prog="scripts/bench", description="fieldgate against its peers, with the bars beside it")
    p.add_argument("--peers", help="comma-separated; default fieldgate, mosq20, and every peer whose environment variable is set (FLASHMQ, RUMQTTD, RMQTTD, NANOMQ, MOSQ21)")
    p.add_argument("--scenarios", help="comma-separated names of mqttload/bench.py; default all that have a bar")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--rt", metavar="PRIORITY", help="run broker and generator under SCHED_FIFO: for a machine that others use, too")
    p.add_argument("--extra", metavar="ARGS", help='overrides for the generator, for example "--duration 1"')
    p.add_argument("--out", metavar="FILE", help="results as JSON lines; default under benches/mqttload/results")
    p.add_argument("--from", dest="source", metavar="FILES", help="no runs: the table of earlier results, comma-separated")
    p.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = p.parse_args()
    if args.source:
        files = args.source.split(",")
    else:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        files = [args.out or os.path.join(HERE, "mqttload", "results", f"{stamp}.jsonl")]
        run(args, files[0])
    text, met = report(files)
    print("\n" + text)
    if args.write:
        write(text)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

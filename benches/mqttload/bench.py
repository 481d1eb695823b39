#!/usr/bin/env python3
"""Runs mqttload scenarios against brokers, interleaved (A B C, A B C, ...), one fresh broker process
per run, and prints medians with spread.

  bench.py run  --peers mosq20,flashmq --scenarios fanin-q0,pairs-q1 --rounds 3 --out results/x.jsonl
  bench.py list
  bench.py table results/x.jsonl [...]

Binaries come from environment variables named in peers/peers.json (MOSQ20, FLASHMQ, ...); MQTTLOAD is
the load generator. A peer whose variable is not set is skipped. Only processes started here are stopped.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))

D = "--duration 2.5 --warmup 0.5"
S = {
    # name: (relay mode or None, arguments, options)
    "fanin-q0":      ("fanin",  f"fanin --pubs 50 --qos 0 --window 20 {D}", {}),
    "fanin-q1":      (None,     f"fanin --pubs 50 --qos 1 --window 20 {D}", {}),
    "fanin-q2":      (None,     f"fanin --pubs 50 --qos 2 --window 20 {D}", {}),
    "fanout100-q0":  ("fanout", f"fanout --subs 100 --qos 0 --window 100 {D}", {}),
    "fanout100-q1":  (None,     f"fanout --subs 100 --qos 1 --window 100 {D}", {}),
    "fanout1000-q0": ("fanout", f"fanout --subs 1000 --qos 0 --window 20 {D}", {}),
    "pairs-q0":      ("pairs",  f"pairs --pairs 10 --qos 0 --window 100 {D}", {}),
    "pairs-q1":      ("pairs",  f"pairs --pairs 10 --qos 1 --window 100 {D}", {}),
    "pairs-q2":      ("pairs",  f"pairs --pairs 10 --qos 2 --window 100 {D}", {}),
    "pairs-w1-q0":   ("pairs",  f"pairs --pairs 50 --qos 0 --window 1 {D}", {}),
    "pairs-w1-q1":   ("pairs",  f"pairs --pairs 50 --qos 1 --window 1 {D}", {}),
    "pairs-v5-q0":   ("pairs",  f"pairs --pairs 10 --qos 0 --window 100 --proto 5 {D}", {}),
    "pairs-v5-q1":   ("pairs",  f"pairs --pairs 10 --qos 1 --window 100 --proto 5 {D}", {}),
    "pairs-1k-q0":   ("pairs",  f"pairs --pairs 10 --qos 0 --payload 1024 --window 100 {D}", {}),
    "pairs-64k-q0":  ("pairs",  f"pairs --pairs 4 --qos 0 --payload 65536 --window 16 {D}", {}),
    "pairs-tls-q0":  (None,     f"pairs --pairs 10 --qos 0 --payload 256 --window 100 {D}", {"tls": 1}),
    "lat1k-q0":      ("pairs",  "latency --mode pairs --pairs 10 --qos 0 --rate 1000 --duration 4 --warmup 0.5", {}),
    "lat1k-q1":      ("pairs",  "latency --mode pairs --pairs 10 --qos 1 --rate 1000 --duration 4 --warmup 0.5", {}),
    "lat10k-q0":     ("pairs",  "latency --mode pairs --pairs 10 --qos 0 --rate 10000 --duration 3 --warmup 0.5", {}),
    "lat10k-q1":     ("pairs",  "latency --mode pairs --pairs 10 --qos 1 --rate 10000 --duration 3 --warmup 0.5", {}),
    "conns10k":      (None,     "conns --conns 10000 --src-addrs 4 --hold 2", {}),
    "conns19k":      (None,     "conns --conns 19000 --src-addrs 4 --hold 2", {}),
    "conns2k-tls":   (None,     "conns --conns 2000 --src-addrs 2 --hold 1", {"tls": 1}),
    "churn":         (None,     "churn --conns 10000 --src-addrs 8 --duration 3", {}),
    "churn-tls":     (None,     "churn --conns 4000 --src-addrs 8 --duration 3", {"tls": 1}),
    "start":         (None,     "start --repeat 7", {"own": 1}),
    "overload-q0":   (None,     "fanin --pubs 50 --qos 0 --payload 1024 --window 0 --duration 3 --warmup 0.5", {"drops": 1}),
    "retained10k":   (None,     "retained --count 10000", {}),
    "retained100k":  (None,     "retained --count 100000", {}),
    "subs100":       (None,     f"subs --count 100 --clients 10 --hot 100 {D}", {}),
    "subs1k":        (None,     f"subs --count 1000 --clients 10 --hot 1000 {D}", {}),
    "subs10k":       (None,     f"subs --count 10000 --clients 100 --hot 10000 {D}", {}),
    "subs100k":      (None,     f"subs --count 100000 --clients 100 --hot 10000 {D}", {}),
    "subs100k-lead": (None,     f"subs --count 100000 --clients 100 --hot 10000 --shape lead {D}", {}),
    "pairs-kept-q1": (None,     f"pairs --pairs 10 --qos 1 --window 100 --durable-subs 1 {D}", {}),
    "offline":       (None,     "durable --sessions 20 --messages 20000 --retained 0", {}),
    "kill-acked":    (None,     "durable --sessions 20 --messages 20000 --retained 1000 --signal KILL --when acked", {"own": 1}),
    "kill-mid":      (None,     "durable --sessions 20 --messages 20000 --retained 1000 --signal KILL --when mid", {"own": 1}),
    "kill-10s":      (None,     "durable --sessions 20 --messages 20000 --retained 1000 --signal KILL --kill-after-ms 10000", {"own": 1}),
    "term":          (None,     "durable --sessions 20 --messages 20000 --retained 1000 --signal TERM --when acked", {"own": 1}),
}


NEXT = [(os.getpid() * 131) % 1500]


def next_port(first):
    # a fresh block of ports per run: TIME_WAIT sockets of one broker can keep the next from binding
    while True:
        NEXT[0] = (NEXT[0] + 1) % 1500
        port = first + 8 * NEXT[0]
        try:
            for i in range(4):  # another series may be using this block
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port + i))
            return port
        except OSError:
            continue


def subst(text, m):
    for k, v in m.items():
        text = text.replace("{" + k + "}", str(v))
    return text


class Broker:
    def __init__(self, name, peer, mode, port, certs, cpu, prio=None):
        self.name, self.dir = name, tempfile.mkdtemp(prefix=f"mq-{name}-")
        here = os.path.join(HERE, "peers")
        self.m = {"dir": self.dir, "port": port, "tls": port + 1, "port5": port + 2, "port6": port + 3, "certs": certs, "mode": mode or "pairs", "here": here}
        for d in peer.get("mkdir", []):
            os.makedirs(os.path.join(self.dir, d))
        for c in peer.get("conf", []):
            t = subst(open(os.path.join(here, c)).read(), self.m)
            open(os.path.join(self.dir, os.path.basename(c)), "w").write(os.path.expandvars(t))
        self.cmd = os.path.expandvars(subst(peer["cmd"], self.m))
        if cpu is not None:
            self.cmd = f"taskset -c {cpu} {self.cmd}"
        if prio:
            self.cmd = f"chrt -f {prio} {self.cmd}"
        self.proc = None

    def start(self):
        self.log = open(os.path.join(self.dir, "out.log"), "ab")
        self.proc = subprocess.Popen(["sh", "-c", "exec " + self.cmd], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        end = time.time() + 20
        while time.time() < end:
            if self.proc.poll() is not None:
                raise RuntimeError(f"{self.name} exited {self.proc.returncode}: " + open(os.path.join(self.dir, "out.log")).read()[-400:])
            try:
                socket.create_connection(("127.0.0.1", self.m["port"]), 0.2).close()
                time.sleep(0.2)
                return self.proc.pid
            except OSError:
                time.sleep(0.03)
        raise RuntimeError(f"{self.name} does not listen")

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(8)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def run_one(sc, name, peer, args, certs, extra):
    mode, argv, opt = S[sc]
    if peer.get("relay") and mode is None:
        return None
    if opt.get("tls") and not peer.get("tls"):
        return None
    port = next_port(args.port)
    b = Broker(name, peer, mode, port, certs, args.broker_cpu, args.rt)
    a = (["chrt", "-f", args.rt] if args.rt else []) + [os.environ["MQTTLOAD"]] + argv.split() + extra
    use = port + (1 if opt.get("tls") else 0)
    if "--proto 5" in argv and "v5_port" in peer:
        use = b.m["port5"]
    a += ["--port", str(use), "--label", name, "--timeout", str(args.timeout)]
    if opt.get("tls"):
        a += ["--tls", os.path.join(certs, "ca.pem")]
    if args.gen_cpu is not None:
        a += ["--cpu", str(args.gen_cpu)]
    rec = {"sc": sc, "peer": name}
    try:
        env = dict(os.environ)
        if opt.get("own"):
            a += ["--broker-cmd", f"sh -c 'cd {b.dir} && exec {b.cmd}'"]
            env["MQTTLOAD_BROKER_LOG"] = os.path.join(b.dir, "out.log")
        else:
            a += ["--broker-pid", str(b.start())]
        p = subprocess.run(a, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=args.timeout + 60, start_new_session=True, env=env)
        line = p.stdout.decode().strip().splitlines()
        if p.returncode == 0 and line:
            rec["r"] = json.loads(line[-1])
        else:
            rec["fail"] = f"rc {p.returncode}: " + p.stderr.decode()[-300:]
        if opt.get("drops") and "metrics" in peer and "r" in rec:
            rec["drops"] = dropped(subst(peer["metrics"], b.m))
        if b.proc is not None and b.proc.poll() is not None:
            rec["broker_died"] = b.proc.returncode
            if "r" in rec:
                rec["fail"] = f"broker exited during the run, code {b.proc.returncode}: " + open(os.path.join(b.dir, "out.log")).read()[-200:]
                rec["after_death"] = rec.pop("r")
    except Exception as e:  # noqa: BLE001 - one failing peer must not end the series
        rec["fail"] = f"{type(e).__name__}: {e}"[:600]
    finally:
        b.stop()
    return rec


def dropped(url):
    """Sum of all counters of dropped messages in a Prometheus text; None when there are none to read."""
    try:
        with urllib.request.urlopen(url, timeout=5) as f:
            lines = f.read().decode().splitlines()
    except OSError:
        return None
    found = [float(x.rsplit(" ", 1)[1]) for x in lines if "dropped" in x.split("{")[0].split(" ")[0] and not x.startswith("#")]
    return int(sum(found)) if found else None


def make_certs(d):
    if os.path.exists(os.path.join(d, "server.pem")):
        return
    os.makedirs(d, exist_ok=True)
    r = lambda c: subprocess.run(c, shell=True, check=True, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    r("openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out ca.key")
    r("openssl req -x509 -new -key ca.key -days 365 -subj /CN=load-ca -out ca.pem")
    r("openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out server.key")
    r("openssl req -new -key server.key -subj /CN=localhost -out s.csr")
    open(os.path.join(d, "ext"), "w").write("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    r("openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile ext -out leaf.pem")
    r("cat leaf.pem ca.pem > server.pem")


def pick(r, key):
    v = r
    for k in key.split("."):
        if not isinstance(v, dict) or k not in v:
            return None
        v = v[k]
    return v


COLS = {
    "default": ["delivered_per_s", "cpu_us_per_msg", "broker_cores", "gen_cores", "latency_us.p50", "latency_us.p99", "peak_rss_kb", "lost", "dups", "reordered"],
    "lat": ["latency_us.p50", "latency_us.p99", "latency_us.p999", "latency_us.max", "gen_lag_us.p99", "cpu_us_per_msg", "lost"],
    "conns": ["connects_per_s", "cpu_us_per_connect", "rss_kb_per_conn", "pss_kb_per_conn", "rss_kb", "idle_cores", "connected", "still_up"],
    "churn": ["connects_per_s", "cpu_us_per_connect", "connect_us.p50", "connect_us.p99", "broker_cores", "gen_cores"],
    "retained": ["set_per_s", "set_cpu_us", "rss_bytes_per_retained", "receive_s", "receive_per_s", "receive_cpu_us", "lost", "dups"],
    "subs": ["subscribe_per_s", "subscribe_cpu_us", "rss_bytes_per_sub", "delivered_per_s", "cpu_us_per_msg", "latency_us.p99", "lost", "refused"],
    "start": ["connack_ms.min", "connack_ms.p50", "connack_ms.max", "rss_kb", "pss_kb", "threads"],
    "durable": ["publish_per_s", "publish_cpu_us", "acked", "acked_but_lost", "received", "dups", "session_present", "probes_delivered", "retained_acked", "retained_lost", "restart_s", "drain_per_s", "drain_cpu_us", "rss_bytes_per_queued", "disk_write_bytes_per_msg"],
}


def cols(sc):
    for k in ("lat", "conns", "churn", "retained", "subs", "start"):
        if sc.startswith(k):
            return COLS[k]
    if sc.split("-")[0] in ("offline", "kill", "term"):
        return COLS["durable"]
    return COLS["default"]


def fmt(v):
    if v is None:
        return "-"
    if isinstance(v, float) and abs(v) < 100:
        return f"{v:.3g}"
    if abs(v) >= 10000:
        return f"{v/1000:.0f}k" if abs(v) < 1e6 else f"{v/1e6:.2f}M"
    return f"{v:.0f}"


def table(files):
    data = {}
    for f in files:
        for line in open(f):
            r = json.loads(line)
            data.setdefault(r["sc"], {}).setdefault(r["peer"], []).append(r)
    for sc in [s for s in S if s in data]:
        c = cols(sc)
        print(f"\n### {sc}: `mqttload {S[sc][1]}`\n")
        print("| broker | n | ok | " + " | ".join(c) + " |")
        print("|---|---|---|" + "---|" * len(c))
        for peer, rs in data[sc].items():
            good = [r["r"] for r in rs if "r" in r]
            row = []
            for k in c:
                v = [x for x in (pick(r, k) for r in good) if isinstance(x, (int, float))]
                if not v:
                    row.append("-")
                elif len(v) == 1 or min(v) == max(v):
                    row.append(fmt(statistics.median(v)))
                else:
                    row.append(f"{fmt(statistics.median(v))} ({fmt(min(v))}..{fmt(max(v))})")
            okn = sum(1 for r in good if r.get("ok"))
            print(f"| {peer} | {len(good)}/{len(rs)} | {okn} | " + " | ".join(row) + " |")
        for peer, rs in data[sc].items():
            errs = {}
            for r in rs:
                e = r.get("fail") or (r.get("r") or {}).get("error") or ("broker died" if "broker_died" in r else None)
                if e:
                    errs[e[:160]] = errs.get(e[:160], 0) + 1
            for e, n in errs.items():
                print(f"- {peer} ({n}x): {e}")


def main():
    p = argparse.ArgumentParser()
    sp = p.add_subparsers(dest="what", required=True)
    r = sp.add_parser("run")
    r.add_argument("--peers", required=True)
    r.add_argument("--scenarios", required=True)
    r.add_argument("--rounds", type=int, default=3)
    r.add_argument("--out", required=True)
    r.add_argument("--port", type=int, default=12000, help="start of a range of 12000 ports below the ephemeral range")
    r.add_argument("--timeout", type=int, default=60)
    r.add_argument("--broker-cpu")
    r.add_argument("--gen-cpu")
    r.add_argument("--certs", default=os.path.join(tempfile.gettempdir(), "mqttload-certs"))
    r.add_argument("--extra", default="")
    r.add_argument("--rt", help="SCHED_FIFO priority for broker and generator (short runs on a shared machine)")
    t = sp.add_parser("table")
    t.add_argument("files", nargs="+")
    sp.add_parser("list")
    args = p.parse_args()
    if args.what == "list":
        for k, v in S.items():
            print(f"{k:16} {v[1]}")
        return
    if args.what == "table":
        return table(args.files)
    peers = json.load(open(os.path.join(HERE, "peers", "peers.json")))
    make_certs(args.certs)
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    names = [n for n in args.peers.split(",") if n]
    for n in list(names):
        if peers[n]["env"] not in os.environ:
            print(f"skip {n}: ${peers[n]['env']} not set", file=sys.stderr)
            names.remove(n)
    for sc in args.scenarios.split(","):
        for rd in range(args.rounds):
            for n in names:
                rec = run_one(sc, n, peers[n], args, args.certs, args.extra.split())
                if rec is None:
                    continue
                rec["round"] = rd
                rec["t"] = time.time()
                open(args.out, "a").write(json.dumps(rec) + "\n")
                if "r" in rec:
                    x = rec["r"]
                    print(f"{sc:14} {rd} {n:14} ok={x.get('ok')} " + " ".join(f"{k.split('.')[-1] if '.' in k else k}={fmt(pick(x, k))}" for k in cols(sc)) + (f" ERR {x['error'][:80]}" if "error" in x else ""), flush=True)
                else:
                    print(f"{sc:14} {rd} {n:14} FAIL {rec['fail'][:200]}", flush=True)


main()

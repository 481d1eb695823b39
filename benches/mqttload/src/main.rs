mod codec;
mod conns;
mod durable;
mod engine;
mod hist;
mod procstat;
mod pubsub;
mod relay;
#[cfg(feature = "tokio-relay")]
mod relay_tokio;
mod retained;
mod start;
mod subs;
mod tls;
mod track;

use std::collections::HashMap;
use std::net::Ipv4Addr;

pub struct Args {
    m: HashMap<String, String>,
    used: std::cell::RefCell<std::collections::HashSet<String>>,
}

impl Args {
    pub fn s(&self, k: &str, d: &str) -> String {
        self.used.borrow_mut().insert(k.into());
        self.m.get(k).cloned().unwrap_or_else(|| d.to_string())
    }
    pub fn opt(&self, k: &str) -> Option<String> {
        self.used.borrow_mut().insert(k.into());
        self.m.get(k).cloned()
    }
    pub fn n<T: std::str::FromStr>(&self, k: &str, d: T) -> T {
        self.used.borrow_mut().insert(k.into());
        match self.m.get(k) {
            None => d,
            Some(v) => v.parse().unwrap_or_else(|_| die(&format!("--{k}: bad value {v}"))),
        }
    }
    pub fn check_unused(&self) {
        let u = self.used.borrow();
        for k in self.m.keys() {
            if !u.contains(k) {
                die(&format!("unknown option --{k}"));
            }
        }
    }
}

pub fn die(s: &str) -> ! {
    eprintln!("mqttload: {s}");
    std::process::exit(2)
}

/// Options every scenario shares.
pub struct Common {
    pub pids: Vec<i32>,
    pub label: String,
    pub v5: bool,
    pub keepalive: u16,
    pub recv_max: u16,
    pub user: Option<String>,
    pub pass: Option<String>,
    pub timeout_s: u64,
    pub port: u16,
    pub host: Ipv4Addr,
    pub tls: Option<String>,
    pub tls_name: String,
    pub tls12: bool,
    pub resume: bool,
    pub src_addrs: u32,
    pub settle_ms: u64,
}

impl Common {
    fn new(a: &Args) -> Self {
        Common {
            pids: a.s("broker-pid", "").split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap_or_else(|_| die("bad --broker-pid"))).collect(),
            label: a.s("label", ""),
            v5: match a.s("proto", "4").as_str() {
                "4" | "3.1.1" => false,
                "5" | "5.0" => true,
                _ => die("--proto 4|5"),
            },
            keepalive: a.n("keepalive", 60),
            recv_max: a.n("recv-max", 65535),
            user: a.opt("user"),
            pass: a.opt("pass"),
            timeout_s: a.n("timeout", 120),
            port: a.n("port", 1883),
            host: a.s("host", "127.0.0.1").parse().unwrap_or_else(|_| die("--host needs an IPv4 address")),
            tls: a.opt("tls"),
            tls_name: a.s("tls-name", "localhost"),
            tls12: a.n("tls12", 0u8) != 0,
            resume: a.n("tls-resume", 0u8) != 0,
            src_addrs: a.n("src-addrs", 1),
            settle_ms: a.n("settle-ms", 300),
        }
    }
    pub fn engine(&self) -> engine::Engine {
        if !self.host.is_loopback() && std::env::var("MQTTLOAD_ALLOW_REMOTE").is_err() {
            die("only loopback targets (set MQTTLOAD_ALLOW_REMOTE=1 for a lab network of your own)");
        }
        let tls = self.tls.as_ref().map(|ca| tls::config(ca, self.resume, self.tls12).unwrap_or_else(|e| die(&e)));
        engine::Engine::new(
            engine::Target { addr: std::net::SocketAddrV4::new(self.host, self.port), tls, tls_name: self.tls_name.clone() },
            self.keepalive,
        )
    }
    pub fn copts(&self, clean: bool, expiry: u32) -> codec::ConnectOpts {
        codec::ConnectOpts {
            v5: self.v5,
            clean,
            keepalive: self.keepalive,
            session_expiry: expiry,
            recv_max: self.recv_max,
            user: self.user.clone(),
            pass: self.pass.clone(),
        }
    }
    /// Source address of connection number i: round robin over --src-addrs loopback addresses.
    pub fn src(&self, i: usize) -> Option<Ipv4Addr> {
        if self.src_addrs <= 1 {
            return None;
        }
        let k = (i as u32) % self.src_addrs;
        Some(Ipv4Addr::new(127, 0, (1 + k / 250) as u8, (1 + k % 250) as u8))
    }
    pub fn base(&self, scenario: &str) -> serde_json::Map<String, serde_json::Value> {
        let mut m = serde_json::Map::new();
        m.insert("scenario".into(), scenario.into());
        m.insert("label".into(), self.label.clone().into());
        m.insert("proto".into(), if self.v5 { 5 } else { 4 }.into());
        m.insert("tls".into(), self.tls.is_some().into());
        m.insert("loadavg".into(), procstat::loadavg().into());
        m
    }
}

pub fn r1(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
pub fn r3(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Opens `n` connections with at most `pending` under way; stops at the deadline.
pub fn open_many<A: engine::App>(
    e: &mut engine::Engine,
    app: &mut A,
    n: usize,
    pending: usize,
    deadline: u64,
    mut open: impl FnMut(&mut engine::Engine, usize) -> Result<usize, String>,
) -> usize {
    let up0 = e.n_up;
    let bad0 = e.n_refused + e.n_connect_errors;
    let mut started = 0;
    let mut failed = 0;
    loop {
        let done = (e.n_up - up0.min(e.n_up)) + (e.n_refused + e.n_connect_errors - bad0) + failed;
        while started < n && started - done.min(started) < pending {
            match open(e, started) {
                Ok(_) => {}
                Err(s) => {
                    failed += 1;
                    if e.first_error.is_none() {
                        e.first_error = Some(s);
                    }
                }
            }
            started += 1;
        }
        if done >= n || engine::now_ns() > deadline {
            return e.n_up - up0.min(e.n_up);
        }
        e.poll(app, 5_000_000);
    }
}

pub fn raise_nofile() -> u64 {
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur = r.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &r);
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur
    }
}

const USAGE: &str = "mqttload <scenario> [--option value]...
scenarios: fanin fanout pairs latency conns churn durable retained subs start relay relay-tokio
common:    --host 127.0.0.1 --port 1883 --proto 4|5 --tls CAFILE|insecure --tls-name N --tls12 1 --user U --pass P
           --broker-pid PID[,PID] --label NAME --keepalive S --recv-max N --timeout S --src-addrs N --settle-ms MS
see README.md for the options of each scenario";

fn main() {
    let mut it = std::env::args().skip(1);
    let Some(sc) = it.next() else { die(USAGE) };
    let mut m = HashMap::new();
    while let Some(k) = it.next() {
        let Some(k) = k.strip_prefix("--") else { die(&format!("unexpected argument {k}\n{USAGE}")) };
        let Some(v) = it.next() else { die(&format!("--{k} needs a value")) };
        m.insert(k.to_string(), v);
    }
    let a = Args { m, used: Default::default() };
    raise_nofile();
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1000usize, 0, 0, 0);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    if let Some(cpu) = a.opt("cpu") {
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            for c in cpu.split(',') {
                libc::CPU_SET(c.parse().unwrap_or_else(|_| die("--cpu")), &mut set);
            }
            libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
        }
    }
    let out = match sc.as_str() {
        "relay" => return relay::run(&a),
        #[cfg(feature = "tokio-relay")]
        "relay-tokio" => return relay_tokio::run(&a),
        _ => {
            let c = Common::new(&a);
            match sc.as_str() {
                "fanin" | "fanout" | "pairs" | "latency" => pubsub::run(&c, &a, &sc),
                "conns" => conns::run(&c, &a),
                "churn" => conns::churn(&c, &a),
                "durable" => durable::run(&c, &a),
                "retained" => retained::run(&c, &a),
                "subs" => subs::run(&c, &a),
                "start" => start::run(&c, &a),
                _ => die(USAGE),
            }
        }
    };
    println!("{}", serde_json::Value::Object(out));
}

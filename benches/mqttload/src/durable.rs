//! Offline persistent sessions: publish QoS 1/2 to K sessions that are away, optionally kill the
//! broker (SIGKILL or SIGTERM) and start it again, then reconnect and drain.
//! Every message the broker acknowledged and that never arrives is counted: acknowledged-but-lost.

use crate::codec::{self, Publish};
use crate::engine::{now_ns, App, Engine, St, MAX_OUT};
use crate::track::{self, Tally, Track};
use crate::{die, procstat, r1, r3, Args, Common};
use serde_json::json;
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROLE_SUB: u8 = 2;
const ROLE_PUB: u8 = 1;
const ROLE_RET: u8 = 3;

struct D {
    run: u32,
    k: usize,
    /// per stream (= session): which seqs are acknowledged
    acked: Vec<Vec<u64>>,
    n_acked: u64,
    sent: u64,
    nack: u64,
    inflight: u32,
    ring: Vec<Option<(u32, u64)>>,
    next_pid: usize,
    tracks: Vec<Track>,
    tally: Tally,
    ret_got: Vec<bool>,
    ret_n: u64,
    probes: u64,
    cur_role: u8,
    last: u64,
}

fn setbit(v: &mut Vec<u64>, i: u64) {
    let w = (i / 64) as usize;
    if v.len() <= w {
        v.resize(w + 1, 0);
    }
    v[w] |= 1 << (i % 64);
}

const PROBE: u32 = 0x8000_0000;
const RETAIN: u32 = 0x4000_0000;

impl App for D {
    fn on_publish(&mut self, e: &mut Engine, c: usize, p: &Publish<'_>) {
        let Some(h) = track::head(p.payload, self.run) else {
            self.tally.foreign += 1;
            return;
        };
        self.last = e.now;
        if h.stream & RETAIN != 0 {
            if !self.ret_got[h.seq as usize] {
                self.ret_got[h.seq as usize] = true;
                self.ret_n += 1;
            }
            return;
        }
        if h.stream & PROBE != 0 {
            self.probes += 1;
            return;
        }
        let s = h.stream as usize;
        if s >= self.k || e.conns[c].tag as usize != s {
            self.tally.foreign += 1;
            return;
        }
        if !track::body_ok(p.payload, h.stream) {
            self.tally.damaged += 1;
        }
        self.tracks[s].see(h.seq, &mut self.tally);
    }
    fn on_ack(&mut self, e: &mut Engine, c: usize, _kind: u8, pid: u16, code: u8) {
        if e.conns[c].role == ROLE_SUB {
            return;
        }
        let Some(slot) = self.ring.get_mut((pid as usize).wrapping_sub(1)) else { return };
        if let Some((s, q)) = slot.take() {
            self.inflight -= 1;
            self.last = e.now;
            // 0x10 "no matching subscribers" is a success code of MQTT 5
            if code >= 0x80 {
                self.nack += 1;
            } else if self.cur_role == ROLE_PUB {
                setbit(&mut self.acked[s as usize], q);
                self.n_acked += 1;
            } else {
                self.n_acked += 1;
                setbit(&mut self.acked[0], q);
            }
        }
    }
}

impl D {
    fn put(&mut self, e: &mut Engine, c: usize, v: &mut codec::PubTemplate, qos: u8, s: u32, seq: u64) -> bool {
        if qos > 0 {
            let mut k = self.next_pid;
            if self.ring[k].is_some() {
                match self.ring.iter().position(|x| x.is_none()) {
                    Some(f) => k = f,
                    None => return false,
                }
            }
            self.ring[k] = Some((s, seq));
            self.next_pid = (k + 1) % self.ring.len();
            let o = v.pid_off;
            v.bytes[o..o + 2].copy_from_slice(&((k + 1) as u16).to_be_bytes());
            self.inflight += 1;
        }
        let o = v.payload_off;
        track::stamp(&mut v.bytes[o..], seq, now_ns());
        e.conns[c].wbuf.extend_from_slice(&v.bytes);
        self.sent += 1;
        true
    }
}

/// Starts a broker by shell command, free of this process's CPU pinning.
pub fn spawn(cmd: &str) -> Child {
    let mut c = Command::new("sh");
    c.arg("-c").arg(format!("exec {cmd}")).stdin(Stdio::null());
    match std::env::var("MQTTLOAD_BROKER_LOG") {
        Ok(f) => {
            let o = std::fs::OpenOptions::new().create(true).append(true).open(&f).unwrap_or_else(|e| die(&format!("{f}: {e}")));
            c.stdout(o.try_clone().unwrap()).stderr(o);
        }
        Err(_) => {
            c.stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    unsafe {
        c.pre_exec(|| {
            // do not inherit this process's CPU pinning
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            for i in 0..libc::sysconf(libc::_SC_NPROCESSORS_CONF) as usize {
                libc::CPU_SET(i, &mut set);
            }
            libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
            Ok(())
        });
    }
    c.spawn().unwrap_or_else(|e| die(&format!("--broker-cmd: {e}")))
}

fn wait_port(c: &Common, child: &mut Child, secs: u64) -> Result<f64, String> {
    let t0 = now_ns();
    let a = SocketAddrV4::new(c.host, c.port);
    loop {
        if let Ok(Some(st)) = child.try_wait() {
            return Err(format!("broker exited at start: {st}"));
        }
        if TcpStream::connect_timeout(&a.into(), Duration::from_millis(200)).is_ok() {
            return Ok((now_ns() - t0) as f64 / 1e9);
        }
        if now_ns() - t0 > secs * 1_000_000_000 {
            return Err("broker does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn run(c: &Common, a: &Args) -> serde_json::Map<String, serde_json::Value> {
    let k: usize = a.n("sessions", 20);
    let n: u64 = a.n("messages", 20_000);
    let len: usize = a.n("payload", 64);
    let qos: u8 = a.n("qos", 1);
    let inflight: u32 = a.n("inflight", 100);
    let nret: u64 = a.n("retained", 0);
    let signal = a.s("signal", "none"); // none | KILL | TERM
    let when = a.s("when", "acked"); // acked | mid
    let settle_before: u64 = a.n("kill-after-ms", 0);
    let cmd = a.opt("broker-cmd");
    let per_session_topic = a.n("own-topics", 1u8) != 0;
    let rate: f64 = a.n("rate", 0.0);
    let drain_ms: u64 = a.n("drain-ms", 3000);
    let expiry: u32 = a.n("expiry", 86_400);
    let restart_wait: u64 = a.n("restart-wait-ms", 500);
    a.check_unused();
    if qos == 0 || qos > 2 {
        die("--qos 1|2");
    }
    let sig = match signal.as_str() {
        "none" => 0,
        "KILL" => libc::SIGKILL,
        "TERM" => libc::SIGTERM,
        _ => die("--signal none|KILL|TERM"),
    };
    if sig != 0 && cmd.is_none() {
        die("--signal needs --broker-cmd (only a broker that this program started is killed)");
    }
    let mut child = cmd.as_ref().map(|s| spawn(s));
    let mut pids = c.pids.clone();
    if let Some(ch) = child.as_mut() {
        if let Err(e) = wait_port(c, ch, 20) {
            die(&e);
        }
        pids = vec![ch.id() as i32];
        std::thread::sleep(Duration::from_millis(300));
    }
    let run = (now_ns() / 1000) as u32 ^ std::process::id();
    let mut d = D {
        run,
        k,
        acked: vec![Vec::new(); k.max(1)],
        n_acked: 0,
        sent: 0,
        nack: 0,
        inflight: 0,
        ring: vec![None; (inflight as usize * 2).clamp(64, 60_000)],
        next_pid: 0,
        tracks: (0..k).map(|_| Track::default()).collect(),
        tally: Tally::default(),
        ret_got: vec![false; nret as usize],
        ret_n: 0,
        probes: 0,
        cur_role: ROLE_PUB,
        last: now_ns(),
    };
    let hard = now_ns() + c.timeout_s * 1_000_000_000;
    let uid = format!("{}-{}", std::process::id(), run);
    let sess = |v5: bool| {
        let mut o = c.copts(false, if v5 { expiry } else { 0 });
        o.clean = false;
        o
    };
    let clean = c.copts(true, 0);
    // 1. create the sessions and leave
    let mut e = c.engine();
    let got = crate::open_many(&mut e, &mut d, k, 32, hard, |e, i| {
        let id = e.connect(c.src(i), &sess(c.v5), &format!("dur-{i}-{uid}"))?;
        e.conns[id].tag = i as u32;
        e.conns[id].role = ROLE_SUB;
        Ok(id)
    });
    if got < k {
        die(&format!("only {got} of {k} sessions connected: {:?}", e.first_error));
    }
    let topic = |s: usize| if per_session_topic { format!("dur/{s}/q") } else { "dur/all/q".to_string() };
    for id in 0..k {
        let s = e.conns[id].tag as usize;
        codec::subscribe(&mut e.conns[id].wbuf, c.v5, 1, &[(topic(s), qos)]);
        e.flush_or_fail(&mut d, id);
    }
    if !e.run_until(&mut d, hard, |e, _| e.conns.iter().all(|x| x.subacks > 0)) {
        die("no SUBACK");
    }
    e.disconnect_all(&mut d);
    std::thread::sleep(Duration::from_millis(200));
    let m0 = procstat::mem(&pids);

    // 2. retained messages (QoS 1, acknowledged)
    let mut e = c.engine();
    let mut ret_acked_bits: Vec<u64> = Vec::new();
    let mut ret_acked = 0;
    let pubc = e.connect(None, &clean, &format!("durpub-{uid}")).unwrap_or_else(|x| die(&x));
    e.conns[pubc].role = ROLE_PUB;
    if !e.run_until(&mut d, hard, |e, _| e.n_up == 1) {
        die(&format!("publisher: {:?}", e.first_error));
    }
    let infl = inflight.min(e.conns[pubc].recv_max as u32);
    if nret > 0 {
        d.cur_role = ROLE_RET;
        let mut i = 0;
        while (d.n_acked + d.nack) < nret && now_ns() < hard && e.n_up == 1 {
            while i < nret && d.inflight < infl {
                let mut v = codec::publish_template(c.v5, format!("durret/{i}").as_bytes(), 1, true, &track::payload(run, RETAIN, len));
                if !d.put(&mut e, pubc, &mut v, 1, 0, i) {
                    break;
                }
                i += 1;
            }
            e.flush_or_fail(&mut d, pubc);
            e.poll(&mut d, 2_000_000);
        }
        ret_acked = d.n_acked;
        ret_acked_bits = std::mem::take(&mut d.acked[0]);
        d.n_acked = 0;
        d.sent = 0;
        d.nack = 0;
        d.cur_role = ROLE_PUB;
    }

    // 3. publish to the absent sessions
    let mut tpl: Vec<_> =
        (0..k).map(|s| codec::publish_template(c.v5, topic(s).as_bytes(), qos, false, &track::payload(run, s as u32, len))).collect();
    let mut seqs = vec![0u64; k];
    let (c0, t0, w0) = (procstat::cpu(&pids), now_ns(), procstat::write_bytes(&pids));
    let mut i = 0u64;
    let stop_at = if when == "mid" && sig != 0 { n / 2 } else { n };
    d.last = t0;
    while (d.n_acked + d.nack) < stop_at && now_ns() < hard && e.n_up == 1 && now_ns() - d.last < 10_000_000_000 {
        let cap = if rate > 0.0 { ((now_ns() - t0) as f64 / 1e9 * rate) as u64 } else { u64::MAX };
        let mut put = 0;
        while i < n && i < cap && d.inflight < infl && put < 64 && e.conns[pubc].pending_out() < MAX_OUT {
            let s = (i % k as u64) as usize;
            if !d.put(&mut e, pubc, &mut tpl[s], qos, s as u32, seqs[s]) {
                break;
            }
            seqs[s] += 1;
            i += 1;
            put += 1;
        }
        e.flush_or_fail(&mut d, pubc);
        e.poll(&mut d, if put == 64 { 0 } else { 1_000_000 });
    }
    let t1 = now_ns();
    let c1 = procstat::cpu(&pids);
    let m1 = procstat::mem(&pids);
    let acked = d.n_acked;
    let sent = d.sent;
    let nack = d.nack;
    let mut exited = true;
    let mut restart_s = 0.0;
    let mut w1 = procstat::write_bytes(&pids);
    let mut err: Option<String> = e.first_error.clone();

    // 4. kill and start again
    if sig != 0 {
        if settle_before > 0 {
            let dl = now_ns() + settle_before * 1_000_000;
            e.run_until(&mut d, dl, |_, _| false);
            w1 = procstat::write_bytes(&pids);
        }
        let ch = child.as_mut().unwrap();
        e.conns[pubc].expect_close = true;
        unsafe {
            libc::kill(ch.id() as i32, sig);
        }
        let dl = now_ns() + 20_000_000_000;
        exited = false;
        while now_ns() < dl {
            // acks that were on their way before the kill still count as acknowledged
            e.poll(&mut d, 2_000_000);
            if let Ok(Some(_)) = ch.try_wait() {
                exited = true;
                break;
            }
        }
        if !exited {
            err.get_or_insert("broker did not stop within 20 s of the signal".into());
            let _ = ch.kill();
            let _ = ch.wait();
        }
        let dl = now_ns() + 50_000_000;
        e.run_until(&mut d, dl, |e, _| e.conns[pubc].st == St::Closed);
        std::thread::sleep(Duration::from_millis(restart_wait));
        let mut again = spawn(cmd.as_ref().unwrap());
        match wait_port(c, &mut again, 30) {
            Ok(s) => restart_s = s,
            Err(x) => {
                err = Some(format!("after restart: {x}"));
            }
        }
        pids = vec![again.id() as i32];
        child = Some(again);
        std::thread::sleep(Duration::from_millis(restart_wait));
    } else {
        e.disconnect_all(&mut d);
    }
    let acked_final = d.n_acked.max(acked);

    // 5. come back and drain
    let mut e = c.engine();
    let (c2, t2) = (procstat::cpu(&pids), now_ns());
    d.last = t2;
    let back = crate::open_many(&mut e, &mut d, k, 32, (now_ns() + 20_000_000_000).min(hard), |e, i| {
        let id = e.connect(c.src(i), &sess(c.v5), &format!("dur-{i}-{uid}"))?;
        e.conns[id].tag = i as u32;
        e.conns[id].role = ROLE_SUB;
        Ok(id)
    });
    let present = e.conns.iter().filter(|x| x.st == St::Up && x.session_present).count();
    while d.tally.got < acked_final && now_ns() - d.last < drain_ms * 1_000_000 && now_ns() < hard {
        e.poll(&mut d, 2_000_000);
    }
    let t3 = d.last.max(t2 + 1);
    let c3 = procstat::cpu(&pids);
    let dl = now_ns() + 200_000_000;
    e.run_until(&mut d, dl, |_, _| false);
    // 6. do the subscriptions still work? does retained come back?
    let pr = e.connect(None, &clean, &format!("durprobe-{uid}")).unwrap_or_else(|x| die(&x));
    e.conns[pr].role = ROLE_PUB;
    e.conns[pr].tag = u32::MAX;
    let dl = (now_ns() + 5_000_000_000).min(hard);
    e.run_until(&mut d, dl, |e, _| e.conns[pr].st == St::Up);
    if e.conns[pr].st == St::Up {
        for s in 0..if per_session_topic { k } else { 1 } {
            let mut v = codec::publish_template(c.v5, topic(s).as_bytes(), 1, false, &track::payload(run, PROBE, len));
            let o = v.pid_off;
            v.bytes[o..o + 2].copy_from_slice(&(60_001 + s as u16).to_be_bytes());
            e.conns[pr].wbuf.extend_from_slice(&v.bytes);
        }
        e.flush_or_fail(&mut d, pr);
        let dl = (now_ns() + 2_000_000_000).min(hard);
        e.run_until(&mut d, dl, |_, d| d.probes >= k as u64);
        if nret > 0 {
            codec::subscribe(&mut e.conns[pr].wbuf, c.v5, 9, &[("durret/#".to_string(), 0)]);
            e.flush_or_fail(&mut d, pr);
            d.last = now_ns();
            while d.ret_n < ret_acked && now_ns() - d.last < drain_ms * 1_000_000 && now_ns() < hard {
                e.poll(&mut d, 2_000_000);
            }
        }
    }
    let mut lost = 0u64;
    let mut acked_total = 0u64;
    for s in 0..k {
        for (w, word) in d.acked[s].iter().enumerate() {
            let mut x = *word;
            while x != 0 {
                let b = x.trailing_zeros() as u64;
                x &= x - 1;
                acked_total += 1;
                if !d.tracks[s].has(w as u64 * 64 + b) {
                    lost += 1;
                }
            }
        }
    }
    let mut ret_lost = 0;
    for i in 0..nret {
        if ret_acked_bits.get((i / 64) as usize).is_some_and(|w| w >> (i % 64) & 1 == 1) && !d.ret_got[i as usize] {
            ret_lost += 1;
        }
    }
    let dt = (t1 - t0) as f64 / 1e9;
    let cpu = c1.since(&c0);
    let mut out = c.base("durable");
    out.insert("params".into(), json!({"sessions": k, "messages": n, "payload": len, "qos": qos, "inflight": infl, "signal": signal, "when": when,
        "kill_after_ms": settle_before, "retained": nret, "own_topics": per_session_topic, "rate": rate}));
    out.insert("sent".into(), sent.into());
    out.insert("acked".into(), acked_total.into());
    out.insert("nack".into(), nack.into());
    out.insert("acked_but_lost".into(), lost.into());
    out.insert("lost_pct".into(), r3(lost as f64 * 100.0 / acked_total.max(1) as f64).into());
    out.insert("received".into(), d.tally.got.into());
    out.insert("received_unacked".into(), d.tally.got.saturating_sub(acked_total - lost).into());
    out.insert("dups".into(), d.tally.dups.into());
    out.insert("dup_flag".into(), e.dup_flagged.into());
    out.insert("reordered".into(), d.tally.reordered.into());
    out.insert("damaged".into(), d.tally.damaged.into());
    out.insert("foreign".into(), d.tally.foreign.into());
    out.insert("sessions_back".into(), back.into());
    out.insert("session_present".into(), present.into());
    out.insert("probes_delivered".into(), d.probes.into());
    out.insert("retained_acked".into(), ret_acked.into());
    out.insert("retained_lost".into(), ret_lost.into());
    out.insert("publish_per_s".into(), (acked as f64 / dt).round().into());
    out.insert("publish_cpu_us".into(), r3(cpu * 1e6 / acked.max(1) as f64).into());
    out.insert("disk_write_bytes_per_msg".into(), r1((w1.saturating_sub(w0)) as f64 / acked.max(1) as f64).into());
    out.insert("rss_bytes_per_queued".into(), r1((m1.rss_kb as f64 - m0.rss_kb as f64) * 1024.0 / acked.max(1) as f64).into());
    out.insert("rss_kb".into(), m1.rss_kb.into());
    out.insert("restart_s".into(), r3(restart_s).into());
    out.insert("clean_exit".into(), exited.into());
    let dd = (t3 - t2) as f64 / 1e9;
    out.insert("drain_s".into(), r3(dd).into());
    out.insert("drain_per_s".into(), (d.tally.got as f64 / dd).round().into());
    out.insert("drain_cpu_us".into(), r3(c3.since(&c2) * 1e6 / d.tally.got.max(1) as f64).into());
    out.insert(
        "ok".into(),
        (lost == 0 && ret_lost == 0 && nack == 0 && d.tally.damaged == 0 && d.tally.foreign == 0 && d.tally.reordered == 0 && present == k && acked_total >= stop_at).into(),
    );
    if let Some(x) = err.or(e.first_error.clone()) {
        out.insert("error".into(), x.into());
    }
    // leave no sessions behind
    e.disconnect_all(&mut d);
    let mut e = c.engine();
    crate::open_many(&mut e, &mut d, k, 32, (now_ns() + 5_000_000_000).min(hard + 5_000_000_000), |e, i| e.connect(c.src(i), &clean, &format!("dur-{i}-{uid}")));
    e.disconnect_all(&mut d);
    if let Some(mut ch) = child {
        unsafe {
            libc::kill(ch.id() as i32, libc::SIGTERM);
        }
        let dl = now_ns() + 10_000_000_000;
        loop {
            if let Ok(Some(_)) = ch.try_wait() {
                break;
            }
            if now_ns() > dl {
                let _ = ch.kill();
                let _ = ch.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    out
}

//! From the start of the broker's process to its first CONNACK, and what a fresh process weighs.

use crate::codec::{self, ConnectOpts};
use crate::durable::spawn;
use crate::engine::now_ns;
use crate::{die, procstat, r3, Args, Common};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::Child;
use std::time::Duration;

/// Pause between two attempts to connect: the resolution of the figure.
const RETRY: Duration = Duration::from_micros(500);

pub fn run(c: &Common, a: &Args) -> serde_json::Map<String, serde_json::Value> {
    let Some(cmd) = a.opt("broker-cmd") else { die("start needs --broker-cmd") };
    let repeat: usize = a.n("repeat", 5);
    a.check_unused();
    let mut ms = Vec::new();
    let mut mem = Vec::new();
    for _ in 0..repeat.max(1) {
        let t0 = now_ns();
        let mut child = spawn(&cmd);
        first_connack(c, &mut child, t0 + c.timeout_s * 1_000_000_000);
        ms.push((now_ns() - t0) as f64 / 1e6);
        std::thread::sleep(Duration::from_secs(1));
        mem.push(procstat::mem(&[child.id() as i32]));
        stop(&mut child);
    }
    ms.sort_by(f64::total_cmp);
    mem.sort_by_key(|m| m.rss_kb);
    let middle = mem[mem.len() / 2];
    let mut out = c.base("start");
    out.insert("params".into(), json!({"repeat": repeat}));
    out.insert("connack_ms".into(), json!({"min": r3(ms[0]), "p50": r3(ms[ms.len() / 2]), "max": r3(ms[ms.len() - 1])}));
    out.insert("rss_kb".into(), middle.rss_kb.into());
    out.insert("pss_kb".into(), middle.pss_kb.into());
    out.insert("threads".into(), middle.threads.into());
    out.insert("ok".into(), true.into());
    out
}

/// Tries until the broker answers a CONNECT with success.
fn first_connack(c: &Common, child: &mut Child, deadline: u64) {
    let address = SocketAddrV4::new(c.host, c.port);
    loop {
        if connack(c, address).is_some_and(|answer| answer[0] == 0x20 && answer[3] == 0) {
            return;
        }
        if let Ok(Some(status)) = child.try_wait() {
            die(&format!("broker exited at start: {status}"));
        }
        if now_ns() > deadline {
            stop(child);
            die("no CONNACK");
        }
        std::thread::sleep(RETRY);
    }
}

/// The first four bytes of the answer; `None` when there was none.
fn connack(c: &Common, address: SocketAddrV4) -> Option<[u8; 4]> {
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_millis(200)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut packet = Vec::new();
    let options: ConnectOpts = c.copts(true, 0);
    codec::connect(&mut packet, &options, "start-0");
    stream.write_all(&packet).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    packet.clear();
    codec::disconnect(&mut packet);
    stream.write_all(&packet).ok()?;
    Some(answer)
}

fn stop(child: &mut Child) {
    unsafe {
        libc::kill(child.id() as i32, libc::SIGTERM);
    }
    let end = now_ns() + 8_000_000_000;
    while now_ns() < end {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

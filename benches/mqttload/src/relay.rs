//! Not a broker: a raw TCP relay that answers CONNECT and SUBSCRIBE and then moves bytes.
//! It marks the physical limit of this machine for the same message sizes and the same generator.
//! Routing comes from the client ids of mqttload (p-<i>-…, s-<i>-…):
//!   fanin: every p -> s-0 (only cut at message boundaries), fanout: p-0 -> every s, pairs: p-i <-> s-i.
//! QoS 0 for fanin/fanout; in pairs mode acknowledgements pass through from the subscriber.

use crate::{codec, die, Args};
use std::collections::HashMap;

pub struct Hello {
    pub v5: bool,
    pub publisher: bool,
    pub idx: usize,
}

/// Parses the CONNECT body far enough to find version and client id.
pub fn hello(body: &[u8]) -> Option<Hello> {
    let v5 = *body.get(6)? == 5;
    let mut at = 10;
    if v5 {
        let n = *body.get(at)? as usize;
        at += 1 + n;
    }
    let l = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]) as usize;
    let id = std::str::from_utf8(body.get(at + 2..at + 2 + l)?).ok()?;
    let mut it = id.split('-');
    let publisher = it.next()? == "p";
    Some(Hello { v5, publisher, idx: it.next()?.parse().ok()? })
}

struct K {
    fd: i32,
    v5: bool,
    hello: bool,
    raw: bool,
    publisher: bool,
    idx: usize,
    rbuf: Vec<u8>,
    out: Vec<u8>,
    opos: usize,
    paused_by: Vec<usize>,
    want_out: bool,
    paused: bool,
    /// fault "swap": the message that leaves after the next one of this connection
    held: Option<Vec<u8>>,
}

fn ctl(ep: i32, fd: i32, id: usize, inn: bool, out: bool, add: bool) {
    let mut ev = libc::epoll_event { events: (if inn { libc::EPOLLIN } else { 0 } | if out { libc::EPOLLOUT } else { 0 }) as u32, u64: id as u64 };
    unsafe {
        libc::epoll_ctl(ep, if add { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_MOD }, fd, &mut ev);
    }
}

/// Writes to connection `to`; keeps what does not fit. True when it did not fit.
fn send(ep: i32, ks: &mut [K], to: usize, b: &[u8]) -> bool {
    let k = &mut ks[to];
    if k.fd < 0 {
        return false;
    }
    let mut at = 0;
    if k.out.len() == k.opos {
        k.out.clear();
        k.opos = 0;
        let r = unsafe { libc::send(k.fd, b.as_ptr() as *const libc::c_void, b.len(), libc::MSG_NOSIGNAL) };
        if r >= 0 {
            at = r as usize;
        }
    }
    if at < b.len() {
        k.out.extend_from_slice(&b[at..]);
        if !k.want_out {
            k.want_out = true;
            ctl(ep, k.fd, to, !k.paused, true, false);
        }
    }
    k.out.len() - k.opos > 256 * 1024
}

pub fn run(a: &Args) {
    let mode = a.s("mode", "pairs");
    let port: u16 = a.n("port", 1890);
    // negative control for the generator's own checks: damage every n-th PUBLISH
    let fault = a.s("fault", "none");
    let every: u64 = a.n("every", 1000);
    let mut nth = 0u64;
    a.check_unused();
    if !["pairs", "fanin", "fanout"].contains(&mode.as_str()) {
        die("--mode pairs|fanin|fanout");
    }
    let l = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| die(&format!("bind: {e}")));
    l.set_nonblocking(true).unwrap();
    use std::os::fd::AsRawFd;
    let ep = unsafe { libc::epoll_create1(0) };
    ctl(ep, l.as_raw_fd(), usize::MAX, true, false, true);
    let mut ks: Vec<K> = Vec::new();
    let mut by: HashMap<(bool, usize), usize> = HashMap::new();
    let mut subs: Vec<usize> = Vec::new();
    let mut evs: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 512];
    let mut buf = vec![0u8; 512 * 1024];
    let mut dirty: Vec<usize> = Vec::new();
    loop {
        // fan-in: everything that came in one turn leaves with one write
        for t in dirty.drain(..) {
            if ks[t].fd >= 0 && !ks[t].want_out {
                let b = std::mem::take(&mut ks[t].out);
                ks[t].opos = 0;
                send(ep, &mut ks, t, &b);
                if ks[t].out.is_empty() {
                    ks[t].out = b;
                    ks[t].out.clear();
                }
            }
        }
        let n = unsafe { libc::epoll_wait(ep, evs.as_mut_ptr(), 512, -1) };
        for x in 0..n.max(0) as usize {
            let ev = evs[x];
            let id = ev.u64 as usize;
            if id == usize::MAX {
                while let Ok((s, _)) = l.accept() {
                    s.set_nonblocking(true).unwrap();
                    s.set_nodelay(true).unwrap();
                    use std::os::fd::IntoRawFd;
                    let fd = s.into_raw_fd();
                    ctl(ep, fd, ks.len(), true, false, true);
                    ks.push(K { fd, v5: false, hello: false, raw: false, publisher: false, idx: 0, rbuf: Vec::new(), out: Vec::new(), opos: 0, paused_by: Vec::new(), want_out: false, paused: false, held: None });
                }
                continue;
            }
            if ks[id].fd < 0 {
                continue;
            }
            if ev.events & libc::EPOLLOUT as u32 != 0 {
                let k = &mut ks[id];
                let r = unsafe { libc::send(k.fd, k.out[k.opos..].as_ptr() as *const libc::c_void, k.out.len() - k.opos, libc::MSG_NOSIGNAL) };
                if r > 0 {
                    k.opos += r as usize;
                }
                if k.opos == k.out.len() {
                    k.out.clear();
                    k.opos = 0;
                    k.want_out = false;
                    ctl(ep, k.fd, id, !k.paused, false, false);
                    for w in std::mem::take(&mut ks[id].paused_by) {
                        if ks[w].fd >= 0 {
                            ks[w].paused = false;
                            ctl(ep, ks[w].fd, w, true, ks[w].want_out, false);
                        }
                    }
                }
            }
            if ev.events & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 == 0 {
                continue;
            }
            let have = ks[id].rbuf.len();
            buf[..have].copy_from_slice(&ks[id].rbuf);
            ks[id].rbuf.clear();
            let r = unsafe { libc::recv(ks[id].fd, buf[have..].as_mut_ptr() as *mut libc::c_void, 128 * 1024, 0) };
            if r <= 0 {
                if r < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock {
                    continue;
                }
                unsafe {
                    libc::close(ks[id].fd);
                }
                ks[id].fd = -1;
                let key = (ks[id].publisher, ks[id].idx);
                if by.get(&key) == Some(&id) {
                    by.remove(&key);
                }
                subs.retain(|s| *s != id);
                continue;
            }
            let end = have + r as usize;
            let mut at = 0;
            // handshake packets
            while !ks[id].raw && at < end {
                let Ok(Some((first, h, len))) = codec::frame(&buf[at..end]) else { break };
                if end - at < h + len {
                    break;
                }
                let body = &buf[at + h..at + h + len];
                let mut reply = Vec::new();
                match first >> 4 {
                    1 => {
                        let Some(hl) = hello(body) else { die("relay: client id not from mqttload") };
                        ks[id].v5 = hl.v5;
                        ks[id].publisher = hl.publisher;
                        ks[id].idx = hl.idx;
                        ks[id].hello = true;
                        by.insert((hl.publisher, hl.idx), id);
                        reply.extend_from_slice(if hl.v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] });
                        if hl.publisher {
                            ks[id].raw = true;
                        } else {
                            subs.push(id);
                        }
                    }
                    8 => {
                        let (p0, p1) = (body[0], body[1]);
                        reply.extend_from_slice(&if ks[id].v5 { vec![0x90, 4, p0, p1, 0, 0] } else { vec![0x90, 3, p0, p1, 0] });
                        ks[id].raw = true;
                    }
                    _ => {}
                }
                at += h + len;
                send(ep, &mut ks, id, &reply);
            }
            if !ks[id].raw {
                ks[id].rbuf.extend_from_slice(&buf[at..end]);
                continue;
            }
            let mut stop = end;
            if mode == "fanin" || fault != "none" {
                stop = at;
                while let Ok(Some((_, h, len))) = codec::frame(&buf[stop..end]) {
                    if end - stop < h + len {
                        break;
                    }
                    stop += h + len;
                }
                if stop < end {
                    let rest = buf[stop..end].to_vec();
                    ks[id].rbuf.extend_from_slice(&rest);
                }
            }
            if at == stop {
                continue;
            }
            let mut changed: Vec<u8> = Vec::new();
            if fault != "none" && ks[id].publisher {
                let mut held = ks[id].held.take();
                let mut p = at;
                while p < stop {
                    let (first, h, len) = codec::frame(&buf[p..stop]).unwrap().unwrap();
                    let mut f = buf[p..p + h + len].to_vec();
                    p += h + len;
                    nth += u64::from(first >> 4 == 3);
                    if first >> 4 == 3 && nth % every == 0 {
                        match fault.as_str() {
                            "drop" => continue,
                            "dup" => changed.extend_from_slice(&f),
                            "swap" => {
                                held = Some(f);
                                continue;
                            }
                            "corrupt" => *f.last_mut().unwrap() ^= 1,
                            "topic" => f[h + 2] ^= 1,
                            _ => die("--fault drop|dup|swap|corrupt|topic"),
                        }
                    }
                    changed.extend_from_slice(&f);
                    if let Some(x) = held.take() {
                        changed.extend_from_slice(&x);
                    }
                }
                ks[id].held = held;
            }
            let data = if fault != "none" && ks[id].publisher { &changed[..] } else { &buf[at..stop] };
            let mut targets: Vec<usize> = Vec::new();
            match mode.as_str() {
                "pairs" => targets.extend(by.get(&(!ks[id].publisher, ks[id].idx))),
                "fanin" if ks[id].publisher => targets.extend(by.get(&(false, 0))),
                "fanout" if ks[id].publisher => targets.extend_from_slice(&subs),
                _ => {}
            }
            if mode == "fanin" && targets.len() == 1 && !ks[targets[0]].want_out {
                let t = targets[0];
                if ks[t].out.is_empty() {
                    dirty.push(t);
                }
                ks[t].out.extend_from_slice(data);
                continue;
            }
            for t in targets {
                if send(ep, &mut ks, t, data) && !ks[id].paused {
                    ks[id].paused = true;
                    ctl(ep, ks[id].fd, id, false, ks[id].want_out, false);
                }
                if ks[id].paused && ks[t].want_out && !ks[t].paused_by.contains(&id) {
                    ks[t].paused_by.push(id);
                }
            }
        }
    }
}

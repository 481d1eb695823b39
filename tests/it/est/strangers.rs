//! Whoever gets none, or wants something else.

use super::*;
use crate::support::taken_port;

#[test]
fn whoever_may_not_enrol_is_told_what_to_do() {
    let Some(site) = Site::new() else { return };
    site.request("pump-7", "/CN=pump-7");
    let token = site.token("pump-7");
    let url = site.est("simpleenroll");
    let post = |args: &[&str]| {
        let mut all = vec!["-H", REQUEST, "--data-binary", "@pump-7.b64"];
        all.extend(args);
        all.push(&url);
        site.curl(&all)
    };
    let asked = post(&[])
        .expect(401, "")
        .expect_header("www-authenticate: basic realm=\"enrolment: a name, with a token");
    // Some clients read no body before they answer.
    asked.expect_header("content-length: 0");
    post(&["-H", "Authorization: Bearer x"]).expect(401, "");
    post(&["--user", "pump-7:wrong"]).expect(401, "token is wrong");
    post(&["--user", &format!("fan:{token}")]).expect(403, "own name");
    site.request("fan", "/CN=fan");
    site.enrol(&format!("fan:{token}"), "fan.b64")
        .expect(403, "own name");
    let san = [
        "req",
        "-new",
        "-key",
        "pump-7.key",
        "-subj",
        "/CN=pump-7",
        "-addext",
    ];
    let mut args = san.to_vec();
    args.extend(["subjectAltName=DNS:fan", "-out", "named.csr"]);
    site.openssl(&args);
    let user = format!("pump-7:{token}");
    site.enrol(&user, "named.csr")
        .expect(403, "alternative name");
    fs::write(site.gateway.path("garbage"), [0xff; 500]).expect("write");
    fs::write(site.gateway.path("large"), [b'A'; 70_000]).expect("write");
    fs::write(site.gateway.path("empty"), "").expect("write");
    site.enrol(&user, "garbage").expect(400, "PKCS#10");
    site.enrol(&user, "empty").expect(400, "PKCS#10");
    site.enrol(&user, "large").expect(413, "longer");
    let plain = ["--user", &user, "--data-binary", "@pump-7.b64", &url];
    site.curl(&plain).expect(415, "application/pkcs10");
    site.curl(&["--user", &user, &url])
        .expect(405, "POST")
        .expect_header("allow: POST");
    let cacerts = site.est("cacerts");
    let posted = site.curl(&["--data", "x", &cacerts]).expect(405, "GET");
    posted.expect_header("allow: GET, HEAD");
    let head = site.curl(&["--head", &cacerts]).expect(200, "");
    assert!(head.body.is_empty());
    for path in ["serverkeygen", "label/cacerts", ""] {
        site.curl(&[&site.est(path)]).expect(404, "cacerts");
    }
    site.await_audit("enrolment-refused", "", "cannot be understood");
    site.await_audit("enrolment-refused", "pump-7", "token is not good");
    site.await_audit("enrolment-refused", "fan", "own name");
    let log = site.gateway.log();
    assert!(!log.contains(&token), "no token is written down");
    // All the while the token was not used up.
    site.enrol(&user, "pump-7.b64").expect(200, "");
}

#[test]
fn whoever_asks_too_often_waits() {
    let config = format!("{PORT}{EST}attempts_per_address_max = 3\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    for _ in 0..3 {
        site.enrol("pump-7:wrong", "pump-7.b64").expect(401, "");
    }
    let user = format!("pump-7:{}", site.token("pump-7"));
    site.enrol(&user, "pump-7.b64")
        .expect(429, "later")
        .expect_header("retry-after:");
    site.curl(&[&site.est("cacerts")]).expect(200, "");
    let (url, other) = (site.est("simpleenroll"), ["--interface", "127.0.0.9"]);
    let mut args = other.to_vec();
    args.extend([
        "--user",
        &user,
        "-H",
        REQUEST,
        "--data-binary",
        "@pump-7.b64",
        &url,
    ]);
    site.curl(&args).expect(200, "");
    assert_eq!(site.counted("simpleenroll", "limited"), 1);
}

#[test]
fn whoever_guesses_is_banned_as_on_every_port() {
    let config = format!("{PORT}{EST}[protection]\nfailures_per_address_max = 3\n");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    for _ in 0..3 {
        site.enrol("pump-7:wrong", "pump-7.b64").expect(401, "");
    }
    let (url, port) = (site.est("cacerts"), site.gateway.address());
    let output = site.in_folder("curl", &["-sS", "--cacert", "ca.pem", &url]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let mut port = TcpStream::connect(port).expect("a connection");
    assert_eq!(
        port.read(&mut [0; 1]).unwrap_or(0),
        0,
        "closed without a word"
    );
    site.await_audit("ban", "127.0.0.1", "for");
    site.fine(&["audit", "unban", "127.0.0.1"]);
    site.curl(&[&url]).expect(200, "");
}

#[test]
fn everybody_gets_the_root_and_nothing_else_without_tls() {
    let Some(site) = Site::new() else { return };
    let root = site.fine(&["ca", "export-root"]);
    let plain = format!("http://{}", site.door("http"));
    let secure = format!("https://{}", site.door("https"));
    for base in [&plain, &secure] {
        let pem = site
            .curl(&[&format!("{base}/ca.crt")])
            .expect(200, "BEGIN CERTIFICATE")
            .expect_header("content-type: application/x-x509-ca-cert");
        assert_eq!(pem.text().trim(), root.trim());
        let der = site
            .curl(&[&format!("{base}/ca.der")])
            .expect(200, "")
            .expect_header("content-type: application/x-x509-ca-cert");
        fs::write(site.gateway.path("root.der"), &der.body).expect("write");
        let pem = site.openssl(&["x509", "-inform", "DER", "-in", "root.der"]);
        assert!(root.contains(pem.lines().nth(3).expect("a line")));
        let list = site.curl(&[&format!("{base}/crl.pem")]).expect(200, "");
        list.expect(200, "BEGIN X509 CRL")
            .expect_header("content-type: application/x-pem-file");
        let head = site
            .curl(&["--head", &format!("{base}/ca.crt")])
            .expect(200, "");
        assert!(head.body.is_empty());
    }
    for path in [
        "/.well-known/est/cacerts",
        "/.well-known/est/simpleenroll",
        "/",
        "/metrics",
    ] {
        site.curl(&[&format!("{plain}{path}")])
            .expect(404, "/ca.crt");
    }
    site.curl(&["--data", "x", &format!("{plain}/ca.crt")])
        .expect(405, "GET");
    let said = site.fine(&["status"]);
    assert!(said.contains(&secure) && said.contains(&plain), "{said}");
}

#[test]
fn without_an_authority_there_is_nothing_to_give_yet() {
    let config = format!("{PORT}[est]\nhttp = \"127.0.0.1:0\"\n{NEVER_BANNED}");
    let Some(site) = Site::without_authority(&config) else {
        return;
    };
    let plain = format!("http://{}", site.door("http"));
    for path in ["ca.crt", "ca.der", "crl.pem"] {
        site.curl(&[&format!("{plain}/{path}")])
            .expect(503, "no certificate authority yet")
            .expect_header("retry-after:");
    }
    site.fine(&["ca", "init", "--name", "gateway-7"]);
    for path in ["ca.crt", "ca.der", "crl.pem"] {
        site.curl(&[&format!("{plain}/{path}")]).expect(200, "");
    }
}

#[test]
fn reload_moves_the_addresses() {
    let Some(site) = Site::new() else { return };
    let (https, http) = (site.door("https"), site.door("http"));
    let admin = "[admin]\nhttp = \"off\"\n";
    let moved = EST.replace("127.0.0.1:0", "127.0.0.2:0");
    site.gateway
        .write_config(&format!("{PORT}{moved}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    site.gateway.await_status(|status| {
        let address = status["est"]["https"]["address"].as_str()?;
        address.starts_with("127.0.0.2:").then_some(())
    });
    site.curl(&[&site.est("cacerts")]).expect(200, "");
    for former in [https, http] {
        let end = Instant::now() + SOON;
        while TcpStream::connect(former).is_ok() {
            assert!(Instant::now() < end, "{former} is closed");
        }
    }
    // One that is taken is said and tried again.
    let taken = taken_port([127, 0, 0, 3]);
    let address = taken.local_addr().expect("its number").to_string();
    let moved = EST.replacen("127.0.0.1:0", &address, 1);
    site.gateway
        .write_config(&format!("{PORT}{moved}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    let alarm = site.gateway.await_status(|status| {
        let alarms = status["alarms"].as_array()?;
        let found = alarms.iter().find(|alarm| alarm["name"] == "est-waiting")?;
        found["text"].as_str().map(str::to_owned)
    });
    assert!(alarm.contains(&address), "{alarm}");
    assert!(site.fine(&["status"]).contains("awaiting address"));
    drop(taken);
    assert_eq!(site.door("https").to_string(), address);
    site.gateway
        .write_config(&format!("{PORT}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    site.gateway.await_status(|status| {
        let is_off = |door: &str| status["est"][door]["state"] == "off";
        (is_off("https") && is_off("http")).then_some(())
    });
}

/// Sends bytes without TLS and reads until the end.
fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // The server may have had enough before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn strangers_bytes_change_nothing() {
    let Some(site) = Site::new() else { return };
    let (https, http) = (site.door("https"), site.door("http"));
    // Without TLS there is no HTTP on the one, and none but its own on the other.
    assert!(answered(&raw(https, b"GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n")).is_none());
    for garbage in [
        &[0_u8; 3000][..],
        &[0xff; 3000],
        b"\r\n\r\n",
        b"GET",
        &[0x16, 3, 1, 255, 255],
    ] {
        raw(https, garbage);
        let said = raw(http, garbage);
        assert!(
            answered(&said).is_none_or(|it| it.status == 400),
            "{said:?}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    let said = answered(&raw(http, long.as_bytes()));
    assert!(said.is_none_or(|it| matches!(it.status, 414 | 431)));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    let said = answered(&raw(http, many.as_bytes()));
    assert!(said.is_none_or(|it| it.status == 431));
    // One connection has one answer, however many requests come behind each other.
    let request = "GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n";
    let said = String::from_utf8_lossy(&raw(http, request.repeat(50).as_bytes())).into_owned();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1, "{said}");
    // A body that says to be longer than it is, and one in pieces without end.
    let promised = b"POST /ca.crt HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\nabc";
    assert_eq!(
        answered(&raw(http, promised)).expect("an answer").status,
        405
    );
    let mut pieces =
        b"POST /ca.crt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    pieces.extend(
        b"1000\r\n"
            .iter()
            .chain(&[b'a'; 0x1000])
            .chain(b"\r\n")
            .copied()
            .cycle()
            .take(3 << 20),
    );
    raw(http, &pieces);
    site.curl(&[&site.url("ca.crt")]).expect(200, "BEGIN");
}

#[test]
fn whoever_says_nothing_keeps_nobody_else_out() {
    let config = format!("{PORT}{EST}connections_max = 8\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    let address = site.door("https");
    // One address gets half of the connections, however many it opens.
    let silent: Vec<TcpStream> = (0..30)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    let url = site.est("cacerts");
    site.curl(&["--interface", "127.0.0.9", &url])
        .expect(200, "");
    // Those that are let in are closed after a while, and then the address is served again.
    let end = Instant::now() + 3 * SOON;
    loop {
        let output = site.in_folder("curl", &["-sS", "-i", "--cacert", "ca.pem", &url]);
        if answered(&output.stdout).is_some_and(|it| it.status == 200) {
            break;
        }
        assert!(Instant::now() < end, "the connections are closed");
    }
    drop(silent);
}

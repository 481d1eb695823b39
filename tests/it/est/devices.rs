//! Devices and users that get certificates.

use super::*;

#[test]
fn device_has_its_certificate_from_first_to_last() {
    let Some(site) = Site::new() else { return };
    let issuers = site
        .curl(&[&site.est("cacerts")])
        .expect(200, "")
        .expect_header("content-type: application/pkcs7-mime")
        .expect_header("content-transfer-encoding: base64");
    let issuers = site.certificates(&issuers);
    assert_eq!(issuers.matches("BEGIN CERTIFICATE").count(), 2, "{issuers}");
    let root = site.fine(&["ca", "export-root"]);
    fs::write(site.gateway.path("root.pem"), &root).expect("write");
    let body: String = root.lines().skip(1).take(3).collect();
    assert!(
        issuers.replace('\n', "").contains(&body),
        "the root is there"
    );

    let wanted = site
        .curl(&[&site.est("csrattrs")])
        .expect(200, "")
        .expect_header("content-type: application/csrattrs");
    fs::write(site.gateway.path("attrs.b64"), &wanted.body).expect("write");
    site.openssl(&["base64", "-d", "-in", "attrs.b64", "-out", "attrs.der"]);
    let args = ["asn1parse", "-inform", "DER", "-in", "attrs.der"];
    assert!(site.openssl(&args).contains("prime256v1"));

    site.enrolled("pump-7");
    let args = [
        "verify",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "pump-7.crt",
        "pump-7.crt",
    ];
    site.openssl(&args);
    assert!(site.connects("pump-7"));
    let list: Value = serde_json::from_str(&site.fine(&["ca", "list", "--json"])).expect("JSON");
    let text = list.to_string();
    assert!(
        text.contains("\"enrolled\"") && text.contains("\"hall\":\"2\""),
        "{text}"
    );

    // With another key; the first certificate is good until it ends.
    site.request("next", "/CN=pump-7");
    let answered = site.again("pump-7", "next").expect(200, "");
    site.keep("next", &answered);
    assert!(site.connects("next") && site.connects("pump-7"));
    assert_ne!(site.serial("next"), site.serial("pump-7"));
    site.again("next", "pump-7").expect(200, "");

    site.await_audit("enrolment-accepted", "pump-7", "by token");
    let former = site.serial("pump-7").to_lowercase();
    site.await_audit(
        "enrolment-accepted",
        "pump-7",
        &format!("by certificate {former}"),
    );
    site.await_audit("certificate-issued", "pump-7", "enrolled");
    assert_eq!(site.counted("simpleenroll", "done"), 1);
    assert_eq!(site.counted("simplereenroll", "done"), 2);
}

#[test]
fn certificate_that_is_revoked_gets_no_other() {
    let Some(site) = Site::new() else { return };
    site.enrolled("pump-7");
    site.enrolled("fan");
    site.request("other", "/CN=fan");
    site.again("pump-7", "other").expect(403, "own name");
    site.await_audit("enrolment-refused", "pump-7", "own name");
    let url = site.est("simplereenroll");
    let plain = ["-H", REQUEST, "--data-binary", "@other.b64", &url];
    site.curl(&plain).expect(403, "certificate");
    site.await_audit("enrolment-refused", "", "the TLS handshake");
    site.fine(&["ca", "revoke", "pump-7"]);
    assert!(site.hears_an_alert("pump-7"));
    site.await_audit("enrolment-refused", "CN=pump-7", "has been revoked");
    let own = "req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -subj /CN=own -addext basicConstraints=CA:FALSE";
    site.openssl(&own.split(' ').collect::<Vec<_>>());
    assert!(site.hears_an_alert("own"));
    site.await_audit("enrolment-refused", "CN=own", "nobody who is trusted");
    assert!(!site.connects("pump-7") && site.connects("fan"));
    site.again("fan", "other").expect(200, "");
    assert_eq!(site.counted("simplereenroll", "done"), 1);
}

#[test]
fn token_that_twenty_have_at_one_time_gives_one_certificate() {
    let config = format!("{PORT}{EST}connections_max = 64\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    let user = format!("pump-7:{}", site.token("pump-7"));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let enrolling: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| site.enrol(&user, "pump-7.b64").status))
            .collect();
        enrolling
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(200), count(401)), (1, 19), "{statuses:?}");
    let list: Value = serde_json::from_str(&site.fine(&["ca", "list", "--json"])).expect("JSON");
    assert_eq!(list.to_string().matches("\"serial\"").count(), 1, "{list}");
    assert_eq!(site.counted("simpleenroll", "refused"), 19);
}

#[test]
fn request_is_taken_in_every_form() {
    let Some(site) = Site::new() else { return };
    site.request("pump-7", "/CN=pump-7");
    let base64 = fs::read_to_string(site.gateway.path("pump-7.b64")).expect("a file");
    let one_line: String = base64.lines().collect();
    fs::write(site.gateway.path("pump-7.one"), one_line).expect("write");
    fs::write(
        site.gateway.path("pump-7.crlf"),
        base64.replace('\n', "\r\n"),
    )
    .expect("write");
    for form in ["der", "csr", "one", "crlf"] {
        let user = format!("pump-7:{}", site.token("pump-7"));
        site.enrol(&user, &format!("pump-7.{form}")).expect(200, "");
    }
    // Without a name of its own it gets that of the token.
    site.request("unnamed", "/O=Plant");
    let user = format!("fan:{}", site.token("fan"));
    let answered = site.enrol(&user, "unnamed.b64").expect(200, "");
    assert!(site.certificates(&answered).contains("CN = fan"));
}

#[test]
fn user_enrols_with_a_password_where_that_is_allowed() {
    let config = format!("{PORT}{EST}users = true\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    add_user(&site.gateway.path("state"), "anna", &["--attr", "floor=1"]);
    site.request("anna", "/CN=anna");
    site.request("pump-7", "/CN=pump-7");
    let user = format!("anna:{PASSWORD}");
    let answered = site.enrol(&user, "anna.b64").expect(200, "");
    site.keep("anna", &answered);
    assert!(site.connects("anna"));
    let list = site.fine(&["ca", "list", "--json"]);
    assert!(list.contains("floor"), "{list}");
    site.enrol(&user, "pump-7.b64").expect(403, "own name");
    site.enrol("anna:wrong", "anna.b64").expect(401, "");
    site.enrol("nobody:wrong", "anna.b64")
        .expect(403, "own name");
    site.await_audit("enrolment-accepted", "anna", "by password");
    site.await_audit("enrolment-refused", "anna", "password is wrong");
    let with_token = format!("pump-7:{}", site.token("pump-7"));
    site.enrol(&with_token, "pump-7.b64").expect(200, "");
    // Where only tokens are good, the right password is as wrong as any other.
    site.gateway.write_config(&format!(
        "{PORT}{EST}{NEVER_BANNED}[admin]\nhttp = \"off\"\n"
    ));
    reload(&site.gateway);
    site.enrol(&user, "anna.b64").expect(401, "token");
}

#[test]
fn nothing_but_two_addresses_has_to_be_written() {
    let manual = "{ mode = \"Manual\", cert = \"{dir}/server.crt\", key = \"{dir}/server.key\" }";
    let port = PORT.replace(manual, "{ mode = \"Automatic\" }");
    let est = "[est]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
    let Some(mut site) = Site::with(&format!("{port}{est}")) else {
        return;
    };
    let root = site.curl(&[&format!("http://{}/ca.crt", site.door("http"))]);
    fs::write(site.gateway.path("ca.pem"), &root.body).expect("write");
    site.root = root.text();
    // The gateway proves itself to everybody who trusts its root.
    site.enrolled("pump-7");
    let port = site.door("https").port();
    let url = format!("https://localhost:{port}/.well-known/est/cacerts");
    site.curl(&[&url]).expect(200, "");
    site.request("next", "/CN=pump-7");
    let answered = site.again("pump-7", "next").expect(200, "");
    site.keep("next", &answered);
    assert!(site.connects("pump-7") && site.connects("next"));
    let status = site.gateway.control("status");
    let certificate = &status["est"]["certificate"];
    assert!(certificate["renewal_seconds"].is_u64(), "{certificate}");
}
